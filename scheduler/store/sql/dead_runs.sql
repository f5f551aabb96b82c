-- name: list_dead
-- Newest first. $2 job, $3 outcome, $4 part of the reason, $5 finished since, $6 id of the last one before.
SELECT id, job_name AS job, outcome, reason, attempt, fired_at, finished_at
FROM runs WHERE tenant = $1 AND state = 'failed' AND discarded_at IS NULL AND retried_by IS NULL
  AND ($2::text IS NULL OR job_id = (SELECT id FROM jobs WHERE tenant = $1 AND name = $2))
  AND ($3::text IS NULL OR outcome = $3)
  AND ($4::text IS NULL OR position(lower($4) IN lower(reason)) > 0)
  AND ($5::timestamptz IS NULL OR finished_at >= $5)
  AND ($6::uuid IS NULL OR id < $6)
ORDER BY id DESC LIMIT $7;

-- name: discard_dead
UPDATE runs SET discarded_at = now()
WHERE tenant = $1 AND id = ANY ($2::uuid[]) AND state = 'failed' AND discarded_at IS NULL AND retried_by IS NULL
RETURNING id, job_name;

-- name: lock_dead
-- Those that are still dead, and that nobody has asked to run again meanwhile.
SELECT r.id, r.job_id, r.job_name, r.params, j.version
FROM runs AS r JOIN jobs AS j ON j.id = r.job_id
WHERE r.tenant = $1 AND r.id = ANY ($2::uuid[]) AND r.state = 'failed' AND r.discarded_at IS NULL
  AND r.retried_by IS NULL AND j.deleted_at IS NULL
  AND NOT EXISTS (SELECT FROM firings AS f WHERE f.job_id = r.job_id AND f.retry_of = r.id AND f.verdict IS NULL)
ORDER BY r.id FOR NO KEY UPDATE OF r;

-- name: insert_retry_events
-- One for each run: an event fires a job once.
INSERT INTO events (id, tenant, source, topic, data, verdict, decided_at)
SELECT id, $1, CASE WHEN current_tenant() IS NULL THEN 'cli' ELSE 'api' END, 'run.retry', data::jsonb, 'started', now()
FROM unnest($2::uuid[], $3::text[]) AS e (id, data);

-- name: insert_retry_firings
INSERT INTO firings (id, tenant, kind, event_id, job_id, job_version, fires_at, wall_time, zone, params, retry_of, sweep_at)
SELECT id, $1, 'retry', event_id, job_id, job_version, $2, $3, 'UTC', params::jsonb, retry_of, now()
FROM unnest($4::uuid[], $5::uuid[], $6::uuid[], $7::int[], $8::text[], $9::uuid[])
     AS f (id, event_id, job_id, job_version, params, retry_of);
