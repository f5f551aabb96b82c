-- name: lock_due
-- The next batch of due triggers, as locked. A row another Ticker holds is skipped: it is being planned.
SELECT id, tenant, job_id, job_version, last_at, next_at, fired, held_until, held_as, anchor_at, calendar_version FROM triggers
WHERE active AND next_at <= $1 ORDER BY next_at LIMIT $2 FOR UPDATE SKIP LOCKED;

-- name: get_rules
-- What the schedules of these triggers are made from, as text: equal texts are parsed once.
SELECT t.id, t.tenant, t.key, t.anchor_at, j.name AS job_name, t.spec::text AS spec,
       v.spec ->> 'timezone' AS timezone, (v.spec -> 'catch_up')::text AS catch_up,
       v.spec ->> 'priority' AS priority, t.calendar, t.calendar_version
FROM triggers AS t
JOIN jobs AS j ON j.id = t.job_id
JOIN job_versions AS v ON v.job_id = j.id AND v.version = j.version
WHERE t.id = ANY ($1::uuid[]);

-- name: advance
-- Move triggers on: everything up to last_at is in the ledger now.
UPDATE triggers AS t
SET last_at = moved.last_at, next_at = moved.next_at, fired = moved.fired, trouble = NULL, tzdata = $5,
    held_until = CASE WHEN t.held_until <= moved.last_at THEN NULL ELSE t.held_until END
FROM unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[], $4::int[]) AS moved (id, last_at, next_at, fired)
WHERE t.id = moved.id;

-- name: put_off
-- What cannot be planned keeps its cursor and is looked at later; others must not wait for it.
UPDATE triggers AS t SET next_at = $3, trouble = off.why
FROM unnest($1::uuid[], $2::text[]) AS off (id, why) WHERE t.id = off.id;

-- name: record_firings
-- Write planned instants. One that is there already was planned by somebody else: it keeps its row. What
-- lies beyond $19 nobody is told of: the sweep finds it at its instant.
WITH recorded AS (
    INSERT INTO firings (id, tenant, kind, trigger_id, job_id, job_version, fires_at, to_at, count, wall_time, zone,
                         tzdata, calendar_version, params, verdict, reason, held_rank, start_until, decided_at, sweep_at)
    SELECT id, tenant, 'time', trigger_id, job_id, job_version, fires_at, to_at, count, wall_time, zone, $17,
           calendar_version, params::jsonb, verdict, reason, held_rank, start_until, CASE WHEN verdict IS NOT NULL THEN now() END,
           CASE WHEN held_rank IS NOT NULL THEN start_until + interval '1 minute'
                WHEN verdict IS NULL AND fires_at > $19 THEN fires_at
                WHEN verdict IS NULL THEN greatest(now(), fires_at) + interval '5 seconds' END
    FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::uuid[], $5::int[], $6::timestamptz[], $7::timestamptz[],
                $8::int[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::smallint[],
                $15::timestamptz[], $16::int[], $18::int[])
         AS planned (id, tenant, trigger_id, job_id, job_version, fires_at, to_at, count, wall_time, zone, params,
                     verdict, reason, held_rank, start_until, position, calendar_version)
    ORDER BY position
    ON CONFLICT ON CONSTRAINT firings_instant_is_unique DO NOTHING
    RETURNING id, tenant, job_id, fires_at, verdict, held_rank
), said AS (
    INSERT INTO feed (tenant, fact, ids, job_ids)
    SELECT tenant, 'firing.' || verdict, array_agg(id), array_agg(job_id) FROM recorded WHERE verdict IS NOT NULL GROUP BY tenant, verdict
)
SELECT id, tenant, fires_at, verdict, held_rank FROM recorded;

-- name: extend_range
-- A stretch of instants that got the same verdict as the row before it grows that row.
WITH grown AS (
    UPDATE firings SET to_at = $3, count = count + $4, decided_at = now()
    WHERE id = (SELECT id FROM firings WHERE trigger_id = $1 AND to_at IS NOT NULL ORDER BY fires_at DESC LIMIT 1)
      AND verdict = $2 AND to_at = $5
    RETURNING id, tenant, job_id, verdict
), said AS (
    INSERT INTO feed (tenant, fact, ids, job_ids)
    SELECT tenant, 'firing.' || verdict, array_agg(id), array_agg(job_id) FROM grown GROUP BY tenant, verdict
)
SELECT id FROM grown;

-- name: find_next_at
-- When the next trigger is due, how many are until $1 (100,000 stand for more), whether missed firings are held,
-- and whether nobody decides: firings are overdue for minutes that any Dispatcher would find within a second.
SELECT (SELECT min(next_at) FROM triggers WHERE active) AS next_at,
       (SELECT count(*)::int FROM (SELECT FROM triggers WHERE active AND next_at <= $1 LIMIT 100000) AS soon) AS crowd,
       EXISTS (SELECT FROM firings WHERE held_rank IS NOT NULL) AS holds,
       EXISTS (SELECT FROM firings WHERE sweep_at < now() - interval '5 minutes' AND held_rank IS NULL) AS undecided;

-- name: wake_runs
-- Runs whose delay or back-off is over go to the backlog, or into the line of their job when its
-- runs take turns; those of the line come again until somebody has looked at it.
UPDATE runs SET
    state = CASE WHEN state = 'waiting' AND turn IS NOT NULL THEN 'waiting' ELSE 'ready' END,
    turn = CASE WHEN state = 'waiting' AND turn IS NOT NULL THEN 'awaits' ELSE turn END,
    ready_at = CASE WHEN state = 'waiting' AND turn IS NOT NULL THEN NULL ELSE now() END,
    queue_until = CASE WHEN state = 'waiting' AND turn IS NOT NULL THEN queue_until
                       WHEN state = 'waiting' THEN now() + (queue_until - created_at) ELSE queue_until END,
    sweep_at = CASE WHEN state = 'waiting' AND turn IS NOT NULL THEN now() + interval '3 seconds'
                    WHEN state = 'waiting' THEN now() + (queue_until - created_at) ELSE queue_until END
WHERE id IN (SELECT id FROM runs WHERE state IN ('waiting', 'backing_off') AND sweep_at <= now()
             ORDER BY sweep_at LIMIT $1 FOR UPDATE SKIP LOCKED)
RETURNING id, job_id, state;

-- name: find_next_wake
-- Seconds until the next run is to be woken, by the database clock.
SELECT extract(epoch FROM min(sweep_at) - now())::float8
FROM runs WHERE state IN ('waiting', 'backing_off') AND sweep_at IS NOT NULL;

-- name: ring
SELECT pg_notify($1, $2);

-- name: list_job_names
SELECT id, name FROM jobs WHERE id = ANY ($1::uuid[]);
