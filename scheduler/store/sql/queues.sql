-- name: pause_pool
-- Waits for a fill under way, so that no offer is made after it.
UPDATE pools SET paused_at = coalesce(paused_at, now()) WHERE name = $1
RETURNING (SELECT paused_at FROM pools WHERE name = $1) IS NULL AS changed;

-- name: resume_pool
UPDATE pools SET paused_at = NULL WHERE name = $1
RETURNING (SELECT paused_at FROM pools WHERE name = $1) IS NOT NULL AS changed;

-- name: take_back
-- Offers that nobody has claimed are void: a claim of one is denied.
UPDATE runs SET state = 'ready', lease_token = NULL, sweep_at = queue_until
WHERE id IN (SELECT id FROM runs WHERE pool = $1 AND state = 'queued' ORDER BY id FOR UPDATE)
RETURNING id;

-- name: cancel_waiting
WITH moved AS (
    UPDATE runs SET state = 'cancelled', reason = $3, cancel_reason = $3, cancel_at = now(), finished_at = now(),
                    lease_token = NULL, sweep_at = CASE WHEN has_downstream THEN now() END
    WHERE id IN (SELECT id FROM runs WHERE tenant = $1 AND pool = $2 AND state IN ('ready', 'queued')
                 ORDER BY id LIMIT $4 FOR UPDATE SKIP LOCKED)
    RETURNING id, tenant, job_id
), said AS (
    INSERT INTO feed (tenant, fact, ids, job_ids)
    SELECT tenant, 'run.cancelled', array_agg(id), array_agg(job_id) FROM moved GROUP BY tenant
)
SELECT id FROM moved;

-- name: count_running
SELECT count(*)::int FROM runs WHERE pool = $1 AND state IN ('queued', 'running');

-- name: has_pool
SELECT EXISTS (SELECT FROM pools WHERE name = $1);

-- name: list_queues
SELECT p.name AS pool, p.queue_limit, p.paused_at,
       count(r.id) FILTER (WHERE r.state = 'ready')::int AS ready,
       count(r.id) FILTER (WHERE r.state = 'queued')::int AS queued,
       count(r.id) FILTER (WHERE r.state = 'running')::int AS running
FROM pools AS p LEFT JOIN runs AS r ON r.pool = p.name AND r.state IN ('ready', 'queued', 'running')
GROUP BY p.name ORDER BY p.name;
