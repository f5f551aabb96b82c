-- name: beat
INSERT INTO dispatchers AS d (id) VALUES ($1) ON CONFLICT (id) DO UPDATE SET seen_at = now(), stopped_at = NULL;

-- name: find_before
-- Whether others were there before $1: somebody may be (heard of lately), and somebody was for certain (heard of,
-- or gone in order, after it had come).
SELECT count(*) FILTER (WHERE o.stopped_at IS NULL AND o.seen_at > now() - $2::float8 * interval '1 second') AS perhaps,
       count(*) FILTER (WHERE coalesce(o.stopped_at, o.seen_at) > d.joined_at + interval '100 milliseconds') AS certainly
FROM dispatchers AS d JOIN dispatchers AS o ON (o.joined_at, o.id) < (d.joined_at, d.id)
WHERE d.id = $1;

-- name: leave
-- Returns how many others are alive. The lock lets one go after the other: only the last one finds nobody.
WITH held AS MATERIALIZED (SELECT id, seen_at, stopped_at FROM dispatchers ORDER BY id FOR UPDATE),
     gone AS (UPDATE dispatchers SET stopped_at = now() WHERE id = $1 AND EXISTS (SELECT FROM held))
SELECT count(*)::int FROM held
WHERE id <> $1 AND stopped_at IS NULL AND seen_at > now() - $2::float8 * interval '1 second';

-- name: forget_dispatchers
DELETE FROM dispatchers WHERE coalesce(stopped_at, seen_at) < now() - interval '1 hour';

-- name: begin_conditions
INSERT INTO conditions (tenant, trigger_id, wanted, subject)
SELECT tenant, trigger_id, wanted::jsonb, subject
FROM unnest($1::text[], $2::uuid[], $3::text[], $4::text[]) AS new (tenant, trigger_id, wanted, subject)
ORDER BY trigger_id, wanted, subject
ON CONFLICT DO NOTHING
RETURNING trigger_id, wanted::text, subject;

-- name: end_conditions
-- Those that are over. $4: of these subjects only; null: of all.
DELETE FROM conditions
WHERE trigger_id = $1 AND wanted = $2::text::jsonb AND NOT subject = ANY ($3::text[])
  AND ($4::text[] IS NULL OR subject = ANY ($4));

-- name: find_lost
-- Executors that were silent for a lease, past which every live Recorder has read the heartbeats.
SELECT boot_id, name, pool, host, pid, seen_at FROM executors
WHERE stopped_at IS NULL AND seen_at + $1::float8 * interval '1 second' < least(now(), (
    SELECT min(read_through) FROM recorders WHERE seen_at > now() - 2 * $1::float8 * interval '1 second'));

-- name: count_ready
-- Runs of a tenant that are ready, by pool: at most $2 and one more are counted.
SELECT p.name AS pool, (SELECT count(*)::int FROM (
    (SELECT FROM runs WHERE pool = p.name AND tenant = $1 AND state = 'ready' AND limit_key IS NULL LIMIT $2 + 1)
    UNION ALL
    (SELECT FROM runs WHERE pool = p.name AND tenant = $1 AND state = 'ready' AND limit_key IS NOT NULL LIMIT $2 + 1)
) AS ready) AS runs
FROM pools AS p;

-- name: find_long
-- Attempts that run for longer than $2 seconds.
SELECT id, job_id, job_name, attempt, executor, claimed_at FROM runs
WHERE tenant = $1 AND state = 'running' AND sweep_at IS NOT NULL
  AND claimed_at < now() - $2::float8 * interval '1 second' ORDER BY claimed_at LIMIT 1000;
