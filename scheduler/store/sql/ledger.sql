-- name: list_firings
-- Newest first; after is the id of the last firing of the page before. A stretch counts for a time that
-- any of it falls into.
SELECT f.id, j.name AS job, f.kind, t.key AS trigger, f.fires_at, f.to_at, f.count, f.wall_time, f.zone, f.verdict,
       f.reason, f.calendar_version, f.run_id, f.blocking_run_id, f.retry_of, f.planned_at, f.decided_at,
       CASE WHEN f.held_rank IS NOT NULL THEN (
           SELECT greatest(coalesce(p.paced_until, now()), now()) + interval '1 minute' / p.per_minute * (
               SELECT count(*) FROM firings AS h WHERE h.held_rank IS NOT NULL
                  AND (h.held_rank, h.fires_at, h.id) <= (f.held_rank, f.fires_at, f.id))
           FROM ticking AS p) END AS held_until,
       (SELECT count(*)::int FROM backfill_instants AS i WHERE i.firing_id = f.id AND i.run_id IS NOT NULL) AS backfilled
FROM firings AS f
JOIN jobs AS j ON j.id = f.job_id
LEFT JOIN triggers AS t ON t.id = f.trigger_id
WHERE f.tenant = $1 AND ($2::text IS NULL OR j.name = $2)
  AND ($3::text[] IS NULL OR coalesce(f.verdict, 'undecided') = ANY ($3))
  AND ($4::timestamptz IS NULL OR coalesce(f.to_at, f.fires_at) >= $4)
  AND ($5::timestamptz IS NULL OR f.fires_at < $5)
  AND ($6::uuid IS NULL OR f.id < $6)
ORDER BY f.id DESC LIMIT $7;

-- name: count_verdicts
-- By trigger, rows that begin in [since, until). Found by job and time.
SELECT j.name AS job, t.key AS trigger, f.kind, coalesce(f.verdict, 'undecided') AS verdict, sum(f.count)::bigint AS count
FROM jobs AS j
JOIN firings AS f ON f.job_id = j.id AND f.fires_at >= $3 AND f.fires_at < $4
LEFT JOIN triggers AS t ON t.id = f.trigger_id
WHERE j.tenant = $1 AND ($2::text IS NULL OR j.name = $2)
GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4;

-- name: measure_lateness
-- From the planned instant to the first claim; firings of the clock only.
SELECT job, count(*) AS started,
       percentile_disc(0.5) WITHIN GROUP (ORDER BY late_s) AS p50_s,
       percentile_disc(0.99) WITHIN GROUP (ORDER BY late_s) AS p99_s, max(late_s) AS max_s
FROM (SELECT j.name AS job, extract(epoch FROM CASE r.attempt WHEN 1 THEN r.claimed_at ELSE (
                 SELECT a.started_at FROM attempts AS a WHERE a.run_id = r.id AND a.attempt = 1) END
             - f.fires_at)::float8 AS late_s
      FROM jobs AS j
      JOIN firings AS f ON f.job_id = j.id AND f.fires_at >= $3 AND f.fires_at < $4
      JOIN runs AS r ON r.id = f.run_id
      WHERE j.tenant = $1 AND ($2::text IS NULL OR j.name = $2) AND f.kind = 'time' AND f.verdict = 'started') AS starts
WHERE late_s IS NOT NULL
GROUP BY job ORDER BY job;

-- name: find_job
SELECT id FROM jobs WHERE tenant = $1 AND name = $2;
