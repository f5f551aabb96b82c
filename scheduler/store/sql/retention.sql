-- name: move_flows
SELECT looked_at, last, runs, attempts FROM move_flows($1, $2, $3, $4);

-- name: forget_firings
SELECT * FROM forget_firings($1, $2, $3, $4);

-- name: list_tenants
SELECT name FROM tenants ORDER BY name;

-- name: forget_events
SELECT * FROM forget_events($1, $2, $3, $4, $5);

-- name: forget_backfills
SELECT forget_backfills($1);

-- name: forget_audit
SELECT day, tenant, id, line FROM forget_audit($1);

-- name: list_due
-- Partitions whose time is over, the oldest first.
SELECT class, day, generation, runs, archived_at FROM history_days
WHERE dropped_at IS NULL AND kept_until <= now() ORDER BY day, class;

-- name: close_day
UPDATE history_days SET closed_at = coalesce(closed_at, now())
WHERE class = $1 AND day = $2 AND dropped_at IS NULL AND kept_until <= now() RETURNING class;

-- name: list_past
-- Of a closed partition, what is to be archived for a tenant: of a run everything that is known.
SELECT (to_jsonb(r) || jsonb_build_object(
    'attempts', (SELECT coalesce(jsonb_agg(to_jsonb(a) - 'class' ORDER BY a.attempt), '[]') FROM past_attempts AS a
                 WHERE a.run_id = r.id AND a.class = $1 AND a.run_id >= first_id($2::date) AND a.run_id < first_id($2::date + 1)),
    'firing', (SELECT to_jsonb(f) FROM firings AS f WHERE f.id = r.firing_id)))::text AS line
FROM past_runs AS r
WHERE r.class = $1 AND r.id >= first_id($2::date) AND r.id < first_id($2::date + 1) AND r.tenant = $3
ORDER BY r.id;

-- name: list_owners
SELECT DISTINCT tenant FROM past_runs AS r
WHERE r.class = $1 AND r.id >= first_id($2::date) AND r.id < first_id($2::date + 1) ORDER BY tenant;

-- name: note_archived
UPDATE history_days SET archived_at = now() WHERE class = $1 AND day = $2;

-- name: drop_day
SELECT drop_history_day($1, $2);

-- name: get_retaining
SELECT next_at, started_at, finished_at, seconds, done, trouble,
       started_at IS NOT NULL AND (finished_at IS NULL OR finished_at < started_at) AND trouble IS NULL
       AND seen_at > now() - interval '2 minutes' AS is_at_it, next_at < now() - interval '6 hours' AS is_late
FROM retaining;

-- name: plan_next
UPDATE retaining SET next_at = $1 WHERE next_at IS NULL;

-- name: take_turn
-- $1: also when it is not due. Who has not been heard of for two minutes is not at it any more.
UPDATE retaining SET started_at = now(), seen_at = now(), trouble = NULL, done = '{}'
WHERE ($1 OR next_at <= now())
  AND (started_at IS NULL OR finished_at >= started_at OR trouble IS NOT NULL
       OR seen_at < now() - interval '2 minutes')
RETURNING started_at;

-- name: note_progress
UPDATE retaining SET seen_at = now(), done = $1;

-- name: note_end
UPDATE retaining SET finished_at = now(), seconds = extract(epoch FROM now() - started_at), done = $1, next_at = $2;

-- name: note_trouble
UPDATE retaining SET trouble = $1, next_at = $2;

-- name: list_kept
-- What history holds, by class.
SELECT class, count(*)::int AS days, sum(runs)::bigint AS runs, min(day) AS oldest, max(day) AS newest,
       sum(pg_total_relation_size(format('past_runs_%s_%s', class, to_char(day, 'YYYYMMDD'))::regclass)
           + pg_total_relation_size(format('past_attempts_%s_%s', class, to_char(day, 'YYYYMMDD'))::regclass))::bigint AS bytes
FROM history_days WHERE dropped_at IS NULL GROUP BY class ORDER BY class;

-- name: count_due
-- What the next pass would look at: $1, how long ended runs stay at hand; $2, how long the ledger is kept; $3, audit.
SELECT (SELECT count(*) FROM runs WHERE finished_at < now() - $1::interval AND sweep_at IS NULL) AS runs,
       (SELECT count(*) FROM firings WHERE id < first_id(now() - $2::interval) AND verdict IS NOT NULL) AS firings,
       (SELECT count(*) FROM events WHERE received_at < now() - $2::interval AND verdict IS NOT NULL) AS events,
       (SELECT count(*) FROM audit WHERE id < first_id(now() - $3::interval)) AS audit;
