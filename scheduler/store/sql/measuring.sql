-- name: measure
-- Everything at once, for all tenants: active work by its indexes, and how the newest 500 runs went.
WITH recent AS (
    SELECT state, fired_at, created_at, ready_at, claimed_at, finished_at, flow_id = id AND backfill_id IS NULL AS fired
    FROM (SELECT * FROM runs ORDER BY id DESC LIMIT 500) AS newest
)
SELECT 'schedules' AS name, label, count(*)::float8 AS value
FROM (SELECT CASE WHEN removed_at IS NOT NULL THEN 'deleted' WHEN active THEN 'active' ELSE 'paused' END AS label
      FROM triggers) AS known GROUP BY label
UNION ALL
SELECT 'runs', state, count(*)::float8 FROM runs
WHERE state IN ('ready', 'queued', 'running', 'backing_off') GROUP BY state
UNION ALL
SELECT 'runs', 'waiting', count(*)::float8 FROM runs WHERE state = 'waiting'
UNION ALL
SELECT 'runs', 'dead', count(*)::float8 FROM runs
WHERE state = 'failed' AND discarded_at IS NULL AND retried_by IS NULL
UNION ALL
SELECT 'backlog', pool, count(*)::float8 FROM runs WHERE state = 'ready' GROUP BY pool
UNION ALL
SELECT 'backlog_age', pool, extract(epoch FROM now() - min(ready_at))::float8 FROM runs WHERE state = 'ready' GROUP BY pool
UNION ALL
SELECT 'recent', state, count(*)::float8 FROM recent GROUP BY state
UNION ALL
SELECT 'success', '', avg((state = 'succeeded')::int)::float8 FROM recent WHERE state IN ('succeeded', 'failed')
UNION ALL
SELECT 'duration', '', avg(extract(epoch FROM finished_at - claimed_at))::float8 FROM recent
WHERE finished_at IS NOT NULL AND claimed_at IS NOT NULL
UNION ALL
SELECT 'wait', q::text, percentile_cont(q) WITHIN GROUP (ORDER BY extract(epoch FROM claimed_at - ready_at))
FROM recent, (VALUES (0.5), (0.99)) AS quantiles (q) WHERE claimed_at IS NOT NULL GROUP BY q
UNION ALL
SELECT 'lag', q::text, percentile_cont(q) WITHIN GROUP (ORDER BY greatest(0, extract(epoch FROM created_at - fired_at)))
FROM recent, (VALUES (0.5), (0.99)) AS quantiles (q) WHERE fired GROUP BY q;

-- name: measure_jobs
-- The numbers that jobs declare, of the newest attempt that gave them among their last ten runs.
SELECT j.tenant, j.name AS job, declared.name, (last.metrics ->> declared.name)::float8 AS value
FROM jobs AS j
JOIN job_versions AS v ON v.job_id = j.id AND v.version = j.version,
LATERAL jsonb_array_elements_text(v.spec -> 'metrics') AS declared (name),
LATERAL (SELECT a.metrics FROM (SELECT id FROM runs WHERE job_id = j.id ORDER BY id DESC LIMIT 10) AS r
         JOIN attempts AS a ON a.run_id = r.id
         WHERE a.metrics ? declared.name ORDER BY r.id DESC, a.attempt DESC LIMIT 1) AS last
WHERE j.deleted_at IS NULL AND jsonb_typeof(v.spec -> 'metrics') = 'array'
ORDER BY j.tenant, j.name, declared.name LIMIT $1;
