-- name: find_forgotten
-- Firings whose message may be lost, when the whole batch of them could not be decided.
SELECT id FROM firings WHERE verdict IS NULL AND sweep_at <= now() ORDER BY sweep_at LIMIT $1;

-- name: postpone_firing
-- The pause is the age: it doubles from look to look without a counter.
UPDATE firings SET sweep_at = now() + least(greatest(now() - planned_at, interval '5 seconds'), interval '1 hour')
WHERE id = $1 AND verdict IS NULL;

-- name: find_owed_steps
SELECT id FROM runs WHERE finished_at IS NOT NULL AND sweep_at <= now() ORDER BY sweep_at LIMIT $1;

-- name: postpone_step
UPDATE runs SET sweep_at = now() + least(greatest(now() - finished_at, interval '5 seconds'), interval '1 hour')
WHERE id = $1 AND finished_at IS NOT NULL AND sweep_at IS NOT NULL;

-- name: expire_waiting
-- timeout.queue: a run nobody took in time fails without an attempt.
WITH moved AS (
    UPDATE runs SET state = 'failed', outcome = 'timed_out', reason = 'not started in time (timeout.queue)',
                    finished_at = now(), lease_token = NULL, sweep_at = CASE WHEN has_downstream THEN now() END
    WHERE id IN (SELECT id FROM runs WHERE state IN ('ready', 'queued') AND sweep_at <= now() AND queue_until <= now()
                 LIMIT $1 FOR UPDATE SKIP LOCKED)
    RETURNING id, tenant, job_id
), said AS (
    INSERT INTO feed (tenant, fact, ids, job_ids)
    SELECT tenant, 'run.failed', array_agg(id), array_agg(job_id) FROM moved GROUP BY tenant
)
SELECT id FROM moved;

-- name: find_cancelled
SELECT id, tenant, attempt, lease_token, executor, cancel_at_once FROM runs
WHERE id = ANY ($1::uuid[]) AND state = 'running' AND cancel_at IS NOT NULL;

-- name: find_work
-- One look for everything that may be owed, and in how many seconds the next firing is that nobody was told of.
SELECT EXISTS (SELECT FROM firings WHERE sweep_at <= now()) AS firings,
       EXISTS (SELECT FROM events WHERE sweep_at <= now()) AS events,
       (SELECT extract(epoch FROM min(sweep_at) - now())::float8 FROM firings
        WHERE sweep_at > now() AND sweep_at < now() + interval '2 seconds') AS next_s,
       EXISTS (SELECT FROM runs WHERE sweep_at <= now() AND state <> 'running') AS runs,
       EXISTS (SELECT FROM runs WHERE state = 'ready' AND limit_key IS NULL)
           OR EXISTS (SELECT FROM runs WHERE state = 'ready' AND limit_key IS NOT NULL) AS backlog,
       EXISTS (SELECT FROM backfills WHERE sweep_at <= now()) AS backfills;
