-- name: count_pools
-- What of a tenant waits and runs in each pool; $1: seconds an executor may be silent.
SELECT p.name AS pool, p.queue_limit,
       (SELECT coalesce(sum(e.slots), 0)::int FROM executors AS e
        WHERE e.pool = p.name AND e.stopped_at IS NULL AND NOT e.draining
          AND e.seen_at > now() - $1::float8 * interval '1 second') AS slots,
       count(r.id) FILTER (WHERE r.state = 'ready')::int AS ready,
       count(r.id) FILTER (WHERE r.state = 'queued')::int AS queued,
       count(r.id) FILTER (WHERE r.state = 'running')::int AS running,
       count(r.id) FILTER (WHERE r.state = 'backing_off')::int AS backing_off,
       coalesce(extract(epoch FROM now() - min(r.ready_at) FILTER (WHERE r.state = 'ready')), 0)::float8 AS oldest_s
FROM pools AS p
LEFT JOIN runs AS r ON r.pool = p.name AND r.tenant = $2 AND r.state IN ('ready', 'queued', 'running', 'backing_off')
GROUP BY p.name, p.queue_limit ORDER BY p.name;

-- name: measure_runs
-- Runs of a tenant from the id $2 on that have ended, by job and by pool (then job is null): how they ended, how long the last attempt took, and how
-- long the run had waited for an executor before it. $4: so many of all jobs together, the newest of each, and at least
-- ten of each; null: all.
WITH wanted AS MATERIALIZED (
    SELECT id, name, greatest(10, $4::int / greatest(1, count(*) OVER ()))::int AS most
    FROM jobs WHERE tenant = $1 AND ($3::text IS NULL OR name = $3)
)
SELECT j.name AS job, min(r.pool) AS pool, count(*)::int AS runs,
       count(*) FILTER (WHERE r.state = 'succeeded')::int AS succeeded,
       count(*) FILTER (WHERE r.state = 'failed')::int AS failed,
       round(count(*) FILTER (WHERE r.state = 'succeeded')::numeric
             / nullif(count(*) FILTER (WHERE r.state IN ('succeeded', 'failed')), 0), 4)::float8 AS success_rate,
       avg(a.elapsed_s) AS mean_s,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY a.elapsed_s) AS p95_s,
       (percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM r.claimed_at - r.ready_at)))::float8 AS p95_wait_s,
       $4::int IS NULL OR count(*) < min(j.most) AS complete
FROM wanted AS j
CROSS JOIN LATERAL (
    (SELECT id, pool, state, attempt, ready_at, claimed_at, NULL::smallint AS class FROM runs
     WHERE job_id = j.id AND id >= $2 AND tenant = $1 AND finished_at IS NOT NULL
     ORDER BY id DESC LIMIT CASE WHEN $4::int IS NOT NULL THEN j.most END)
    UNION ALL
    (SELECT id, pool, state, attempt, ready_at, claimed_at, class FROM past_runs
     WHERE job_id = j.id AND id >= $2 AND tenant = $1
     ORDER BY id DESC LIMIT CASE WHEN $4::int IS NOT NULL THEN j.most END)
    ORDER BY id DESC LIMIT CASE WHEN $4::int IS NOT NULL THEN j.most END) AS r
LEFT JOIN LATERAL (
    SELECT elapsed_s FROM attempts WHERE r.class IS NULL AND run_id = r.id AND attempt = r.attempt
    UNION ALL
    SELECT elapsed_s FROM past_attempts WHERE class = r.class AND run_id = r.id AND attempt = r.attempt) AS a ON true
GROUP BY GROUPING SETS ((j.id, j.name), (r.pool)) ORDER BY j.name, min(r.pool);
