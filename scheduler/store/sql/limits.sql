-- name: take_turn
-- Who offers runs that share limits counts them first, and several pools may share one: one at a time
-- counts. Whoever finds another at it leaves them to the next fill. The count has to see what the one
-- before has committed: it is a statement of its own.
SELECT pg_try_advisory_xact_lock(hashtext('scheduler.limits'));

-- name: count_tokens
-- How many runs of each job its rate lets start now. One that was due while nobody looked may follow
-- at once, of the last 1.5 seconds: a Dispatcher looks each second.
SELECT j.job_id, greatest(0, floor(extract(epoch FROM now()
           - greatest(r.next_at, now() - interval '1.5 seconds')) / j.every_s) + 1)::int AS tokens
FROM unnest($1::uuid[], $2::float8[]) AS j (job_id, every_s) LEFT JOIN rates AS r ON r.job_id = j.job_id;

-- name: spend_tokens
INSERT INTO rates (job_id, tenant, next_at)
SELECT job_id, tenant, now() - interval '1.5 seconds' + spent * every_s * interval '1 second'
FROM unnest($1::uuid[], $2::float8[], $3::int[]) AS s (job_id, every_s, spent) JOIN jobs ON jobs.id = s.job_id
ON CONFLICT (job_id) DO UPDATE
SET next_at = greatest(rates.next_at, now() - interval '1.5 seconds') + (excluded.next_at - (now() - interval '1.5 seconds'));

-- name: list_free
-- Of each line of runs that share a limit, as many as it has room for; $4, $5: what rates leave to jobs.
-- Of very many lines one look sees a part and says where it ended: the next begins after $6, $7.
WITH RECURSIVE lines AS (
    SELECT $6::text AS tenant, $7::text AS limit_key, NULL::int AS limit_most, 0 AS held, 0 AS seen, 0 AS free
    UNION ALL
    SELECT n.tenant, n.limit_key, n.limit_most, a.held, l.seen + 1,
           l.free + CASE WHEN n.limit_most <= a.held THEN 0 ELSE 1 END
    FROM lines AS l
    CROSS JOIN LATERAL (SELECT tenant, limit_key, limit_most FROM runs
                        WHERE pool = $1 AND state = 'ready' AND limit_key IS NOT NULL
                          AND (tenant, limit_key) > (l.tenant, l.limit_key)
                        ORDER BY tenant, limit_key LIMIT 1) AS n
    CROSS JOIN LATERAL (SELECT count(*)::int AS held FROM runs
                        WHERE tenant = n.tenant AND limit_key = n.limit_key AND state IN ('queued', 'running')) AS a
    WHERE l.seen < 2000 AND l.free < greatest(256, $2)
), free AS (
    SELECT h.id, h.job_id, h.class, h.place FROM lines AS l
    CROSS JOIN LATERAL (
        SELECT c.*, row_number() OVER (ORDER BY class, rank, random()) AS place
        FROM (SELECT f.*, urgency(f.priority, f.ready_at) AS class,
                     row_number() OVER (PARTITION BY f.priority ORDER BY f.ready_at, f.id) AS rank
              FROM generate_series(0, 4) AS p (priority)
              CROSS JOIN LATERAL (SELECT id, job_id, runs.priority, ready_at, limit_most FROM runs
                                  WHERE pool = $1 AND tenant = l.tenant AND limit_key = l.limit_key
                                    AND runs.priority = p.priority AND state = 'ready' AND NOT job_id = ANY ($3::uuid[])
                                  ORDER BY ready_at, id LIMIT least($2, greatest(0, coalesce(l.limit_most - l.held, $2)))) AS f
             ) AS c) AS h
    WHERE l.seen > 0 AND (h.limit_most IS NULL OR l.held + h.place <= h.limit_most)
      AND NOT EXISTS (SELECT FROM tenants WHERE name = l.tenant AND suspended_at IS NOT NULL)
), numbered AS (
    SELECT f.*, row_number() OVER (PARTITION BY job_id ORDER BY class, place, id) AS number FROM free AS f
)
SELECT ARRAY (SELECT n.id FROM numbered AS n
              LEFT JOIN unnest($4::uuid[], $5::int[]) AS t (job_id, tokens) ON t.job_id = n.job_id
              WHERE t.tokens IS NULL OR n.number <= t.tokens
              ORDER BY n.class, n.place, n.id LIMIT $2) AS runs,
       last.tenant, last.limit_key, last.seen >= 2000 OR last.free >= greatest(256, $2) AS more
FROM lines AS last ORDER BY last.seen DESC LIMIT 1;
