-- name: lock_budget
-- One Ticker spends at a time; paced_until is the instant up to which the budget is spent.
SELECT paced_until FROM ticking FOR UPDATE;

-- name: spend_budget
UPDATE ticking SET paced_until = $1, per_minute = $2;

-- name: expire_held
-- The start deadline holds while a firing is held, too. sweep_at is a minute behind it: found by that index.
WITH moved AS (
    UPDATE firings SET verdict = 'misfired', decided_at = now(), sweep_at = NULL, held_rank = NULL,
                       reason = 'held by pacing until it was later than the catch-up window'
    WHERE id IN (SELECT id FROM firings
                 WHERE sweep_at < $1::timestamptz + interval '1 minute' AND held_rank IS NOT NULL AND start_until < $1
                 LIMIT $2 FOR UPDATE SKIP LOCKED)
    RETURNING id, tenant, job_id
)
INSERT INTO feed (tenant, fact, ids, job_ids)
SELECT tenant, 'firing.misfired', array_agg(id), array_agg(job_id) FROM moved GROUP BY tenant;

-- name: release_held
-- The most urgent first, of these the oldest. What is paused or disabled keeps waiting.
UPDATE firings SET held_rank = NULL, sweep_at = now() + interval '5 seconds'
WHERE id IN (SELECT f.id FROM firings AS f JOIN triggers AS t ON t.id = f.trigger_id
             WHERE f.held_rank IS NOT NULL AND f.verdict IS NULL AND t.active
             ORDER BY f.held_rank, f.fires_at, f.id LIMIT $1 FOR UPDATE OF f SKIP LOCKED)
RETURNING id, tenant;
