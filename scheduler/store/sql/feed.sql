-- name: list_facts
-- Facts behind ($1, $2, $3), in order. No row below the oldest open transaction can come any more, so no
-- cursor passes one that is committed late. $4: of this tenant; null: of all. looked_at: so many rows, of $6.
WITH page AS MATERIALIZED (
    SELECT xid, n, tenant, fact, at, ids, job_ids, attempts FROM feed
    WHERE (xid, n) >= ($1, $2) AND xid < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
      AND ($4::text IS NULL OR tenant = $4)
    ORDER BY xid, n LIMIT $6
)
SELECT p.xid, p.n, f.place::int, p.tenant, p.fact, p.at, f.id, f.job_id, p.attempts[f.place] AS attempt,
       (SELECT count(*)::int FROM page) AS looked_at
FROM page AS p CROSS JOIN LATERAL ROWS FROM (unnest(p.ids), unnest(p.job_ids)) WITH ORDINALITY AS f (id, job_id, place)
WHERE p.xid > $1 OR p.n > $2 OR f.place > $3
ORDER BY p.xid, p.n, f.place LIMIT $5;

-- name: list_keys
-- The routing keys of the next rows, and where these end.
WITH page AS MATERIALIZED (
    SELECT xid, n, tenant, fact, job_ids FROM feed
    WHERE (xid, n) > ($1, $2) AND xid < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
    ORDER BY xid, n LIMIT $3
), keys AS (
    SELECT DISTINCT p.tenant, p.fact, f.job_id FROM page AS p CROSS JOIN LATERAL unnest(p.job_ids) AS f (job_id)
)
SELECT last.xid, last.n, (SELECT count(*)::int FROM page) AS looked_at, (
    SELECT array_agg(k.tenant || '.' || k.fact || '.' || coalesce(j.name, k.job_id::text))
    FROM keys AS k LEFT JOIN jobs AS j ON j.id = k.job_id) AS keys
FROM (SELECT xid, n FROM page ORDER BY xid DESC, n DESC LIMIT 1) AS last;

-- name: describe_runs
-- The end of the attempt is told where the fact is about it; what has happened since is not.
SELECT r.id, r.job_version, r.flow_id, r.firing_id, r.retry_of, r.fired_at, coalesce(f.attempt, r.attempt) AS attempt,
       r.traceparent, r.outcome AS run_outcome, r.reason AS run_reason,
       a.outcome, a.reason, a.exit_code, a.http_status, a.exception, a.elapsed_s
FROM unnest($1::uuid[], $2::int[]) WITH ORDINALITY AS f (id, attempt, position)
LEFT JOIN runs AS r ON r.id = f.id
LEFT JOIN attempts AS a ON a.run_id = f.id AND a.attempt = coalesce(f.attempt, r.attempt)
ORDER BY f.position;

-- name: list_progress
-- How far attempts are now, or were last.
SELECT CASE WHEN p.run_id IS NULL THEN a.progress
            ELSE jsonb_build_object('done', p.done, 'total', p.total, 'message', p.message) END AS progress
FROM unnest($1::uuid[], $2::int[]) WITH ORDINALITY AS f (id, attempt, position)
LEFT JOIN live_progress AS p ON p.run_id = f.id AND p.attempt = f.attempt
LEFT JOIN attempts AS a ON a.run_id = f.id AND a.attempt = f.attempt
ORDER BY f.position;

-- name: describe_past_runs
SELECT r.id, r.job_version, r.flow_id, r.firing_id, r.retry_of, r.fired_at, coalesce(f.attempt, r.attempt) AS attempt,
       r.traceparent, r.outcome AS run_outcome, r.reason AS run_reason,
       a.outcome, a.reason, a.exit_code, a.http_status, a.exception, a.elapsed_s
FROM unnest($1::uuid[], $2::int[]) WITH ORDINALITY AS f (id, attempt, position)
LEFT JOIN past_runs AS r ON r.id = f.id
LEFT JOIN past_attempts AS a ON a.run_id = f.id AND a.class = r.class AND a.attempt = coalesce(f.attempt, r.attempt)
ORDER BY f.position;

-- name: describe_firings
SELECT t.key AS trigger, f.kind AS firing_kind, f.fires_at, f.to_at, f.count, f.wall_time, f.zone, f.reason, f.run_id,
       f.blocking_run_id, f.traceparent
FROM unnest($1::uuid[]) WITH ORDINALITY AS asked (id, position)
LEFT JOIN firings AS f ON f.id = asked.id
LEFT JOIN triggers AS t ON t.id = f.trigger_id
ORDER BY asked.position;

-- name: name_jobs
SELECT id, name FROM jobs WHERE id = ANY ($1::uuid[]);

-- name: get_horizon
-- Up to where the feed is complete, and up to where its rows are gone.
SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS xid,
       pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next_xid, pruned_xid, pruned_n
FROM feeding;

-- name: take_turn
-- Where publishing stands, for whoever nobody else is at it. No row of a table is locked: a transaction that
-- waits for the broker must not be the one that readers wait for.
SELECT xid, n, place FROM feeding WHERE pg_try_advisory_xact_lock(hashtext('scheduler.feed'));

-- name: move_on
UPDATE feeding SET xid = $1, n = $2, place = $3;

-- name: prune
-- The oldest rows, when they are published and older than $1 seconds.
WITH old AS MATERIALIZED (
    SELECT xid, n, at FROM feed ORDER BY xid, n LIMIT $2
), gone AS (
    DELETE FROM feed WHERE (xid, n) IN (
        SELECT o.xid, o.n FROM old AS o CROSS JOIN feeding AS c
        WHERE o.at < now() - $1::float8 * interval '1 second' AND (o.xid, o.n) < (c.xid, c.n))
    RETURNING xid, n
), last AS (
    SELECT xid, n FROM gone ORDER BY xid DESC, n DESC LIMIT 1
), noted AS (
    UPDATE feeding SET pruned_xid = last.xid, pruned_n = last.n FROM last
)
SELECT count(*)::int FROM gone;
