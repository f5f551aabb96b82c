-- name: page_of_all
-- Newest planned first: ids are in the order of time, so the primary key is walked back from $5. What is due at
-- $2 or later has no id below $4. A stretch counts for a time that any of it falls into, here and below.
SELECT id FROM firings
WHERE tenant = $1 AND id >= $4 AND id < $5
  AND coalesce(to_at, fires_at) >= coalesce($2, '-infinity'::timestamptz)
  AND fires_at < coalesce($3, 'infinity'::timestamptz)
ORDER BY id DESC LIMIT $6;

-- name: page_of_verdicts
-- The same with these verdicts: each is found by key, but for started, which most of the others are.
WITH undecided AS MATERIALIZED (
    SELECT id, tenant, to_at, fires_at FROM firings
    WHERE 'undecided' = ANY ($7::text[]) AND sweep_at IS NOT NULL AND verdict IS NULL)
SELECT f.id FROM (
    SELECT v.id FROM unnest($7::text[]) AS wanted (verdict) CROSS JOIN LATERAL (
        SELECT id FROM firings
        WHERE tenant = $1 AND verdict = wanted.verdict AND verdict <> 'started' AND id >= $4 AND id < $5
          AND coalesce(to_at, fires_at) >= coalesce($2, '-infinity'::timestamptz)
          AND fires_at < coalesce($3, 'infinity'::timestamptz)
        ORDER BY id DESC LIMIT $6) AS v
    UNION ALL
    (SELECT id FROM firings
     WHERE 'started' = ANY ($7::text[]) AND tenant = $1 AND verdict = 'started' AND id >= $4 AND id < $5
       AND coalesce(to_at, fires_at) >= coalesce($2, '-infinity'::timestamptz)
       AND fires_at < coalesce($3, 'infinity'::timestamptz)
     ORDER BY id DESC LIMIT $6)
    UNION ALL
    SELECT id FROM undecided
    WHERE tenant = $1 AND id >= $4 AND id < $5
      AND coalesce(to_at, fires_at) >= coalesce($2, '-infinity'::timestamptz)
      AND fires_at < coalesce($3, 'infinity'::timestamptz)) AS f
ORDER BY f.id DESC LIMIT $6;

-- name: page_of_job
-- Latest due first, by job and time; $5 is the id of the last firing of the page before. The second part is stretches
-- that reach into the time from $2 on.
SELECT id FROM (
    (SELECT f.id, f.fires_at FROM firings AS f
     WHERE f.job_id = $1 AND f.fires_at >= coalesce($2, '-infinity'::timestamptz)
       AND f.fires_at < coalesce($3, 'infinity'::timestamptz)
       AND f.fires_at <= coalesce((SELECT fires_at FROM firings WHERE id = $5), 'infinity'::timestamptz)
       AND ($5::uuid IS NULL OR (f.fires_at, f.id) < (SELECT fires_at, id FROM firings WHERE id = $5))
       AND ($7::text[] IS NULL OR coalesce(f.verdict, 'undecided') = ANY ($7))
     ORDER BY f.fires_at DESC, f.id DESC LIMIT $6)
    UNION ALL
    SELECT f.id, f.fires_at FROM jobs AS j
    JOIN firings AS f ON f.tenant = j.tenant AND f.job_id = j.id
    WHERE j.id = $1 AND $2::timestamptz IS NOT NULL AND f.verdict IN ('merged', 'misfired', 'paused', 'superseded')
      AND f.id >= $4 AND f.fires_at < $2 AND f.to_at >= $2 AND f.fires_at < coalesce($3, 'infinity'::timestamptz)
      AND ($5::uuid IS NULL OR (f.fires_at, f.id) < (SELECT fires_at, id FROM firings WHERE id = $5))
      AND ($7::text[] IS NULL OR f.verdict = ANY ($7))) AS f
ORDER BY fires_at DESC, id DESC LIMIT $6;

-- name: show_firings
SELECT f.id, j.name AS job, f.kind, t.key AS trigger, f.fires_at, f.to_at, f.count, f.wall_time, f.zone, f.verdict,
       f.reason, f.calendar_version, f.run_id, f.blocking_run_id, f.retry_of, f.planned_at, f.decided_at,
       f.held_rank IS NOT NULL AS held,
       (SELECT count(*)::int FROM backfill_instants AS i WHERE i.firing_id = f.id AND i.run_id IS NOT NULL) AS backfilled
FROM unnest($1::uuid[]) WITH ORDINALITY AS page (id, position)
JOIN firings AS f ON f.id = page.id
JOIN jobs AS j ON j.id = f.job_id
LEFT JOIN triggers AS t ON t.id = f.trigger_id
ORDER BY page.position;

-- name: foretell_held
-- About when pacing lets these firings go: all that are held are numbered once, in the order of their release.
SELECT h.id, greatest(coalesce(p.paced_until, now()), now()) + interval '1 minute' / p.per_minute * h.number AS held_until
FROM (SELECT id, row_number() OVER (ORDER BY held_rank, fires_at, id) AS number
      FROM firings WHERE held_rank IS NOT NULL) AS h
CROSS JOIN ticking AS p
WHERE h.id = ANY ($1::uuid[]);

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
                 SELECT started_at FROM attempts WHERE run_id = r.id AND attempt = 1
                 UNION ALL
                 SELECT started_at FROM past_attempts
                 WHERE run_id = r.id AND attempt = 1 AND run_id >= first_id($3 - interval '1 minute')) END
             - f.fires_at)::float8 AS late_s
      FROM jobs AS j
      JOIN firings AS f ON f.job_id = j.id AND f.fires_at >= $3 AND f.fires_at < $4
      CROSS JOIN LATERAL (
          SELECT id, attempt, claimed_at FROM runs WHERE id = f.run_id
          UNION ALL
          SELECT id, attempt, claimed_at FROM past_runs
          WHERE id = f.run_id AND id >= first_id($3 - interval '1 minute') OFFSET 0) AS r
      WHERE j.tenant = $1 AND ($2::text IS NULL OR j.name = $2) AND f.kind = 'time' AND f.verdict = 'started') AS starts
WHERE late_s IS NOT NULL
GROUP BY job ORDER BY job;

-- name: find_job
SELECT id FROM jobs WHERE tenant = $1 AND name = $2;
