-- name: get_held
SELECT r.id, r.job_id, r.state, r.turn, r.pool, r.limit_key, r.limit_most, r.executor, r.queued_at, r.finished_at,
       r.release_at > now() AS delayed, r.release_at, r.sweep_at, r.reason, r.needs_any,
       v.spec #>> '{run,handler}' AS handler, j.name AS job, n.spec ->> 'overlap' AS overlap,
       n.spec #> '{run,http}' AS http, now() AS now,
       n.spec ->> 'rate' AS rate, t.next_at AS rate_at, t.next_at > now() AS rate_holds, p.queue_limit, p.paused_at,
       missing_executor(r.pool, v.spec, $3) AS missing, o.suspended_at
FROM runs_of(ARRAY[$2::uuid]) AS r
JOIN tenants AS o ON o.name = r.tenant
JOIN jobs AS j ON j.id = r.job_id
JOIN job_versions AS v ON v.job_id = r.job_id AND v.version = r.job_version
JOIN job_versions AS n ON n.job_id = j.id AND n.version = j.version
LEFT JOIN rates AS t ON t.job_id = r.job_id
LEFT JOIN pools AS p ON p.name = r.pool
WHERE r.tenant = $1;

-- name: list_before
-- Runs that have the turns of a job: the active ones, then those before $2 in its line.
SELECT id FROM runs
WHERE job_id = $1 AND state IN ('ready', 'queued', 'running', 'backing_off') AND backfill_id IS NULL
UNION ALL
SELECT id FROM runs WHERE job_id = $1 AND state = 'waiting' AND turn = 'awaits' AND id < $2
LIMIT 20;

-- name: list_needs
SELECT j.name AS job, e.condition, e.upstream_run_id AS run, u.state
FROM run_edges AS e JOIN jobs AS j ON j.id = e.upstream_job_id LEFT JOIN runs AS u ON u.id = e.upstream_run_id
WHERE e.run_id = $1 AND e.state = 'open' ORDER BY j.name;

-- name: list_holders
-- Who has the places of a limit, as they are counted for an offer.
SELECT id, count(*) OVER ()::int AS held FROM runs
WHERE tenant = $1 AND limit_key = $2 AND state IN ('queued', 'running') ORDER BY id LIMIT 20;
