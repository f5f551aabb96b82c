-- name: get_rules
-- What the newest definition of each job says; a deleted one keeps its last word.
SELECT j.id, v.spec ->> 'overlap' AS overlap, (v.spec ->> 'max_running')::int AS most
FROM jobs AS j JOIN job_versions AS v ON v.job_id = j.id AND v.version = j.version
WHERE j.id = ANY ($1::uuid[]);

-- name: mark_active
-- Runs that began before the definition made runs of this job wait: their ends owe a step as well.
UPDATE runs SET turn = 'takes', has_downstream = true
WHERE job_id = ANY ($1::uuid[]) AND state IN ('ready', 'queued', 'running', 'backing_off') AND turn IS NULL
  AND backfill_id IS NULL;

-- name: find_last
SELECT j.id AS job_id, w.id AS run_id FROM unnest($1::uuid[]) AS j (id)
CROSS JOIN LATERAL (SELECT id FROM runs WHERE job_id = j.id AND state = 'waiting' AND turn = 'awaits'
                    ORDER BY id DESC LIMIT 1) AS w;

-- name: release
-- The head of each line, as many as there is room for; the jobs are locked.
WITH head AS MATERIALIZED (
    SELECT w.id FROM unnest($1::uuid[], $2::int[]) AS j (id, room)
    CROSS JOIN LATERAL (SELECT id FROM runs WHERE job_id = j.id AND state = 'waiting' AND turn = 'awaits'
                        ORDER BY id LIMIT j.room FOR UPDATE) AS w)
UPDATE runs SET state = 'ready', turn = 'takes', reason = NULL, ready_at = now(),
                queue_until = now() + (queue_until - created_at), sweep_at = now() + (queue_until - created_at)
WHERE id = ANY (ARRAY(SELECT id FROM head)) AND CASE state WHEN 'waiting' THEN true ELSE false END
RETURNING pool;

-- name: replace_waiting
-- Of the runs that wait only $2, the newest, is still wanted.
WITH moved AS (
    UPDATE runs SET state = 'cancelled', reason = $3, cancel_reason = $3, cancel_at = now(), finished_at = now(),
                    sweep_at = now()
    WHERE job_id = $1 AND state = 'waiting' AND turn = 'awaits' AND id <> $2
    RETURNING id, tenant, job_id
), said AS (
    INSERT INTO feed (tenant, fact, ids, job_ids)
    SELECT tenant, 'run.cancelled', array_agg(id), array_agg(job_id) FROM moved GROUP BY tenant
)
SELECT id, tenant FROM moved;

-- name: lock_active
SELECT id, tenant, state, cancel_at IS NOT NULL AS cancelled FROM runs
WHERE job_id = $1 AND state IN ('ready', 'queued', 'running', 'backing_off') AND backfill_id IS NULL
ORDER BY id FOR NO KEY UPDATE;

-- name: wait_for_disk
-- Executors stop attempts on the word of this transaction: it must not be lost after that.
SET LOCAL synchronous_commit TO on;

-- name: stay
-- Runs that came into the line by their needs, and were not released at once: no Ticker looks at them.
UPDATE runs AS r SET sweep_at = NULL, reason = CASE
    WHEN a.id IS NULL THEN 'waits for its turn (overlap ' || o.overlap || ')'
    ELSE 'waits for run ' || a.id || ' (overlap ' || o.overlap || ')' END
FROM unnest($2::uuid[], $3::text[]) AS o (job_id, overlap)
LEFT JOIN LATERAL (SELECT id FROM runs WHERE job_id = o.job_id AND state IN ('ready', 'queued', 'running', 'backing_off')
                     AND backfill_id IS NULL ORDER BY id LIMIT 1) AS a ON true
WHERE r.id = ANY ($1::uuid[]) AND r.job_id = o.job_id AND CASE r.state WHEN 'waiting' THEN true ELSE false END;

-- name: list_lines
SELECT DISTINCT job_id FROM runs WHERE state = 'waiting' AND turn = 'awaits';

-- name: end_step
-- Everything the ends of these runs owed is done.
UPDATE runs SET sweep_at = NULL WHERE id = ANY ($1::uuid[]) AND finished_at IS NOT NULL;
