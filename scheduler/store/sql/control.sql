-- name: lock_job
SELECT id, version, enabled, paused_at, updated_at FROM jobs
WHERE tenant = $1 AND name = $2 AND deleted_at IS NULL FOR NO KEY UPDATE;

-- name: pause_job
UPDATE jobs SET paused_at = now(), pause_note = $2, paused_by = $3, updated_at = now()
WHERE id = $1 AND paused_at IS NULL RETURNING id;

-- name: resume_job
UPDATE jobs SET paused_at = NULL, pause_note = NULL, paused_by = NULL, resumed_at = now(), updated_at = now()
WHERE id = $1 AND paused_at IS NOT NULL RETURNING id;

-- name: enable_job
UPDATE jobs SET enabled = $2, updated_at = now() WHERE id = $1 AND enabled <> $2 RETURNING id;

-- name: pause_tenant
INSERT INTO tenants (name, paused_at, paused_by) VALUES ($1, now(), $2)
ON CONFLICT (name) DO UPDATE SET paused_at = excluded.paused_at, paused_by = excluded.paused_by
WHERE tenants.paused_at IS NULL RETURNING name;

-- name: resume_tenant
UPDATE tenants SET paused_at = NULL, paused_by = NULL WHERE name = $1 AND paused_at IS NOT NULL RETURNING name;

-- name: lock_jobs_by_name
SELECT id, name, version, enabled, (SELECT suspended_at IS NOT NULL FROM tenants WHERE name = $1) AS suspended FROM jobs
WHERE tenant = $1 AND name = ANY ($2::text[]) AND deleted_at IS NULL ORDER BY id FOR SHARE;

-- name: list_schemas
-- The jobs among these definitions whose params have a schema.
SELECT v.job_id, v.spec -> 'params_schema' AS schema, coalesce(v.spec -> 'params', '{}') AS params
FROM unnest($1::uuid[], $2::int[]) AS w (job_id, version)
JOIN job_versions AS v ON v.job_id = w.job_id AND v.version = w.version
WHERE jsonb_typeof(v.spec -> 'params_schema') = 'object';

-- name: insert_event
-- Who asks over HTTP, and nobody else, is held to the rows of one tenant.
INSERT INTO events (id, tenant, source, topic, data, verdict, decided_at)
VALUES ($1, $2, CASE WHEN current_tenant() IS NULL THEN 'cli' ELSE 'api' END, $3, $4, 'started', now());

-- name: insert_firings
-- What a person asks for: due now, owed a verdict.
INSERT INTO firings (id, tenant, kind, event_id, job_id, job_version, fires_at, wall_time, zone, params, retry_of,
                     traceparent, sweep_at)
SELECT id, $1, $2, $3, job_id, job_version, $4, $5, 'UTC', $6, $7, $11, now()
FROM unnest($8::uuid[], $9::uuid[], $10::int[]) AS f (id, job_id, job_version);

-- name: lock_run
SELECT r.id, r.job_id, r.job_name, r.state, r.params, r.retried_by, r.discarded_at, r.cancel_at, j.version,
       j.deleted_at IS NOT NULL AS job_deleted
FROM runs AS r JOIN jobs AS j ON j.id = r.job_id
WHERE r.id = $1 AND r.tenant = $2 FOR NO KEY UPDATE OF r;

-- name: lock_past_run
-- A row of history cannot be locked by who may not change it: what is asked of it comes one after another.
SELECT pg_advisory_xact_lock(hashtextextended('scheduler.past_run ' || $1::uuid, 0));

-- name: find_past_run
SELECT r.id, r.job_id, r.job_name, r.state, r.params, r.retried_by, r.discarded_at, r.cancel_at, j.version,
       j.deleted_at IS NOT NULL AS job_deleted
FROM runs_of(ARRAY[$1::uuid]) AS r JOIN jobs AS j ON j.id = r.job_id
WHERE r.tenant = $2;

-- name: find_retry_owed
SELECT id FROM firings WHERE retry_of = $1 AND job_id = $2 AND verdict IS NULL LIMIT 1;

-- name: cancel_runs
-- Nobody holds an attempt of them: they are over at once. A late claim is denied by the state.
WITH moved AS (
    UPDATE runs SET state = 'cancelled', reason = $2, cancel_reason = $2, cancel_at = now(), finished_at = now(),
                    lease_token = NULL, sweep_at = CASE WHEN has_downstream THEN now() END
    WHERE id = ANY ($1::uuid[]) AND state = ANY ($3::text[])
    RETURNING id, tenant, job_id
), said AS (
    INSERT INTO feed (tenant, fact, ids, job_ids)
    SELECT tenant, 'run.cancelled', array_agg(id), array_agg(job_id) FROM moved GROUP BY tenant
)
SELECT id FROM moved;

-- name: wish_cancels
-- $3: kill them without grace. The first reason stays; a later wish can only turn asking into killing.
UPDATE runs SET cancel_at = coalesce(cancel_at, now()), cancel_reason = coalesce(cancel_reason, $2),
                cancel_at_once = cancel_at_once OR $3
WHERE id = ANY ($1::uuid[]) AND state = 'running' AND (cancel_at IS NULL OR ($3 AND NOT cancel_at_once))
RETURNING id;

-- name: discard_run
UPDATE runs SET discarded_at = now() WHERE id = $1 RETURNING id;

-- name: discard_past_run
UPDATE past_runs SET discarded_at = now() WHERE id = $1;

-- name: make_owed_due
-- The broker was emptied: look at everything that is owed now instead of when its message is overdue.
WITH f AS (UPDATE firings SET sweep_at = greatest(now(), fires_at) WHERE verdict IS NULL AND held_rank IS NULL RETURNING 1),
     e AS (UPDATE events SET sweep_at = now() WHERE verdict IS NULL RETURNING 1),
     r AS (UPDATE runs SET sweep_at = now()
           WHERE state = 'queued' OR (finished_at IS NOT NULL AND sweep_at IS NOT NULL) RETURNING state)
SELECT (SELECT count(*) FROM e)::int AS events,
       (SELECT count(*) FROM f)::int AS firings,
       (SELECT count(*) FROM r WHERE state = 'queued')::int AS offers,
       (SELECT count(*) FROM r WHERE state <> 'queued')::int AS ends;
