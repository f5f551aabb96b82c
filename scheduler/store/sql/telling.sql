-- name: keep_progress
-- What is said of an attempt that is given up says nothing of its run any more. The feed has what is new, of each
-- run once in $8 seconds: what was too early for it is told when it is said again.
WITH kept AS (
    INSERT INTO live_progress AS p (run_id, tenant, attempt, seq, done, total, message)
    SELECT r.id, r.tenant, r.attempt, t.seq, t.done, t.total, t.message
    FROM unnest($1::uuid[], $2::int[], $3::uuid[], $4::bigint[], $5::float8[], $6::float8[], $7::text[])
         AS t (run_id, attempt, lease_token, seq, done, total, message)
    JOIN runs AS r ON r.id = t.run_id AND r.attempt = t.attempt AND r.lease_token = t.lease_token
    WHERE CASE r.state WHEN 'running' THEN true ELSE false END
    ON CONFLICT (run_id) DO UPDATE
    SET attempt = excluded.attempt, seq = excluded.seq, done = excluded.done, total = excluded.total,
        message = excluded.message, told_at = now(),
        is_fed = p.fed_at <= now() - $8::float8 * interval '1 second' OR (p.is_fed
            AND (p.attempt, p.done, p.message) = (excluded.attempt, excluded.done, excluded.message)),
        fed_at = CASE WHEN p.fed_at <= now() - $8::float8 * interval '1 second' AND NOT (p.is_fed
                 AND (p.attempt, p.done, p.message) = (excluded.attempt, excluded.done, excluded.message))
                 THEN now() ELSE p.fed_at END
    WHERE p.attempt < excluded.attempt OR (p.attempt = excluded.attempt AND p.seq < excluded.seq)
    RETURNING run_id, tenant, attempt, fed_at = now() AS is_new
)
INSERT INTO feed (tenant, fact, ids, job_ids, attempts)
SELECT k.tenant, 'run.progress', array_agg(r.id), array_agg(r.job_id), array_agg(k.attempt)
FROM kept AS k JOIN runs AS r ON r.id = k.run_id WHERE k.is_new GROUP BY k.tenant;

-- name: keep_output
-- The last pieces may come when the attempt is settled: they pass by those that came before.
INSERT INTO live_output (run_id, attempt, starts_at, ends_at, tenant, lease_token, text)
SELECT t.run_id, t.attempt, t.starts_at, t.ends_at, r.tenant, t.lease_token, t.text
FROM unnest($1::uuid[], $2::int[], $3::uuid[], $4::bigint[], $5::bigint[], $6::text[])
     AS t (run_id, attempt, lease_token, starts_at, ends_at, text)
JOIN runs AS r ON r.id = t.run_id
WHERE CASE r.state WHEN 'running' THEN r.attempt = t.attempt AND r.lease_token = t.lease_token ELSE false END
   OR EXISTS (SELECT FROM live_output AS l
              WHERE l.run_id = t.run_id AND l.attempt = t.attempt AND l.lease_token = t.lease_token)
ON CONFLICT (run_id, attempt, starts_at) DO UPDATE SET ends_at = excluded.ends_at, text = excluded.text
WHERE live_output.ends_at < excluded.ends_at;

-- name: keep_last_progress
UPDATE attempts AS a SET progress = t.progress::jsonb
FROM unnest($1::uuid[], $2::int[], $3::uuid[], $4::text[]) AS t (run_id, attempt, claim_id, progress)
WHERE a.run_id = t.run_id AND a.attempt = t.attempt AND a.claim_id = t.claim_id;

-- name: forget_output
DELETE FROM live_output WHERE told_at < now() - interval '1 minute';

-- name: forget_progress
-- Of an attempt that was lost, what it said last is all there is.
WITH over AS (
    DELETE FROM live_progress AS p
    WHERE NOT EXISTS (SELECT FROM runs AS r WHERE r.id = p.run_id AND r.attempt = p.attempt
                      AND CASE r.state WHEN 'running' THEN true ELSE false END)
    RETURNING run_id, attempt, done, total, message
)
UPDATE attempts AS a SET progress = jsonb_build_object('done', o.done, 'total', o.total, 'message', o.message)
FROM over AS o
WHERE a.run_id = o.run_id AND a.attempt = o.attempt AND a.progress IS NULL;

-- name: list_progress
SELECT p.run_id, p.done, p.total, p.message FROM live_progress AS p JOIN runs AS r ON r.id = p.run_id AND r.attempt = p.attempt
WHERE p.run_id = ANY ($1::uuid[]) AND CASE r.state WHEN 'running' THEN true ELSE false END;

-- name: find_followed
SELECT r.id, r.tenant, r.attempt, r.lease_token, r.executor, f.from_byte
FROM unnest($1::text[], $2::uuid[], $3::int[], $4::bigint[]) AS f (tenant, run_id, attempt, from_byte)
JOIN runs AS r ON r.id = f.run_id AND r.tenant = f.tenant AND r.attempt = f.attempt
WHERE CASE r.state WHEN 'running' THEN r.executor IS NOT NULL ELSE false END;

-- name: look_at_run
SELECT r.job_name AS job, r.state, r.attempt, r.reason, r.finished_at IS NOT NULL AS over, p.done, p.total, p.message
FROM runs_of(ARRAY[$2::uuid]) AS r LEFT JOIN live_progress AS p ON p.run_id = r.id AND p.attempt = r.attempt
WHERE r.tenant = $1;

-- name: list_pieces
SELECT attempt, starts_at, ends_at, text FROM live_output
WHERE run_id = $1 AND attempt >= $2 ORDER BY attempt, starts_at;

-- name: list_ended
SELECT attempt, outcome, reason, output_head AS head, output_tail AS tail, output_bytes AS total_bytes
FROM attempts_of(ARRAY[$1::uuid]) WHERE attempt >= $2 ORDER BY attempt;
