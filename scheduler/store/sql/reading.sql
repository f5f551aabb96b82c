-- name: list_jobs
-- By name: the one of that name, or a page of so many behind another job.
SELECT j.id, j.name, j.version, j.source, j.enabled, j.paused_at, j.pause_note, n.paused_at AS tenant_paused_at,
       CASE WHEN j.paused_at IS NULL THEN n.paused_by ELSE j.paused_by END AS paused_by, j.updated_at, v.spec,
       (SELECT min(t.next_at) FROM triggers AS t WHERE t.job_id = j.id AND t.active) AS next_at,
       (SELECT min(t.trouble) FROM triggers AS t WHERE t.job_id = j.id AND t.removed_at IS NULL) AS trouble,
       r.id AS last_run_id, r.state AS last_state, r.finished_at AS last_finished_at
FROM (SELECT * FROM jobs
      WHERE tenant = $1 AND deleted_at IS NULL AND ($2::text IS NULL OR name = $2)
        AND name > coalesce((SELECT name FROM jobs WHERE id = $3), '')
      ORDER BY name LIMIT $4) AS j
JOIN tenants AS n ON n.name = j.tenant
JOIN job_versions AS v ON v.job_id = j.id AND v.version = j.version
LEFT JOIN LATERAL (SELECT id, state, finished_at FROM runs WHERE job_id = j.id ORDER BY id DESC LIMIT 1) AS r ON true
ORDER BY j.name;

-- name: list_triggers
SELECT t.key, t.kind, t.spec, t.enabled, t.active, t.anchor_at, t.last_at, t.next_at, t.fired, t.trouble
FROM triggers AS t JOIN jobs AS j ON j.id = t.job_id
WHERE j.tenant = $1 AND j.name = $2 AND j.deleted_at IS NULL AND t.removed_at IS NULL ORDER BY t.key;

-- name: page_of_runs
-- Newest first; $5 is the id of the last run of the page before.
SELECT id FROM runs
WHERE tenant = $1
  AND ($2::text IS NULL OR job_id = (SELECT id FROM jobs WHERE tenant = $1 AND name = $2))
  AND ($3::text[] IS NULL OR state = ANY ($3))
  AND ($4::timestamptz IS NULL OR created_at >= $4)
  AND ($5::uuid IS NULL OR id < $5)
ORDER BY id DESC LIMIT $6;

-- name: past_page
-- What is in history of a page, $6: that goes no further than this, the last run found at hand; null: as far as it goes.
SELECT past_page($1, (SELECT id FROM jobs WHERE tenant = $1 AND name = $2), $3, $4, $5, $6, $7) AS id
WHERE $2::text IS NULL OR EXISTS (SELECT FROM jobs WHERE tenant = $1 AND name = $2);

-- name: page_of_states
-- The same of all jobs in these states. Those that few of many runs are in are found by key; of the others the
-- newest are never far.
WITH active AS MATERIALIZED (
    SELECT id, tenant, state, created_at FROM runs
    WHERE state IN ('ready', 'queued', 'running', 'backing_off')
      AND $2::text[] && '{ready,queued,running,backing_off}'::text[])
SELECT f.id FROM (
    SELECT v.id FROM unnest($2::text[]) AS wanted (state) CROSS JOIN LATERAL (
        SELECT id FROM runs
        WHERE tenant = $1 AND state = wanted.state AND state IN ('waiting', 'failed', 'cancelled', 'skipped')
          AND id < $4 AND created_at >= coalesce($3, '-infinity'::timestamptz)
        ORDER BY id DESC LIMIT $5) AS v
    UNION ALL
    (SELECT id FROM runs
     WHERE 'succeeded' = ANY ($2) AND tenant = $1 AND state = 'succeeded'
       AND id < $4 AND created_at >= coalesce($3, '-infinity'::timestamptz)
     ORDER BY id DESC LIMIT $5)
    UNION ALL
    SELECT id FROM active
    WHERE tenant = $1 AND state = ANY ($2) AND id < $4 AND created_at >= coalesce($3, '-infinity'::timestamptz)) AS f
ORDER BY f.id DESC LIMIT $5;

-- name: show_runs
-- $2: seconds after which a silent executor is not alive.
SELECT id, job_name AS job, job_version, state, outcome, reason, attempt, priority, pool, flow_id, firing_id, fired_at,
       created_at, ready_at, queued_at, claimed_at, finished_at, executor, params, result, retry_of, retried_by, cancel_at,
       cancel_reason, discarded_at, backfill_id,
       CASE WHEN state IN ('ready', 'queued', 'backing_off') THEN missing_executor(pool, (
           SELECT v.spec FROM job_versions AS v
           WHERE v.job_id = runs.job_id AND v.version = runs.job_version), $2) END AS held_by,
       CASE WHEN state = 'running' THEN (
           SELECT jsonb_build_object('done', p.done, 'total', p.total, 'message', p.message) FROM live_progress AS p
           WHERE p.run_id = runs.id AND p.attempt = runs.attempt) END AS progress
FROM runs_of($1::uuid[]) AS runs ORDER BY id DESC;

-- name: list_runs_between
SELECT id, job_name AS job, state FROM runs WHERE tenant = $1 AND id BETWEEN $2 AND $3
UNION ALL
SELECT id, job_name AS job, state FROM past_runs WHERE tenant = $1 AND id BETWEEN $2 AND $3
ORDER BY id DESC LIMIT $4;

-- name: has_tenant
SELECT EXISTS (SELECT FROM tenants WHERE name = $1) AS known;

-- name: get_run
SELECT id, job_name AS job, job_version, state, outcome, reason, attempt, priority, pool, flow_id, firing_id, fired_at,
       created_at, ready_at, queued_at, claimed_at, finished_at, executor, params, result, retry_of, retried_by, cancel_at,
       cancel_reason, discarded_at, backfill_id, coalesce(substr(traceparent, 4, 32), replace(flow_id::text, '-', ''))
       AS trace_id,
       CASE WHEN state IN ('ready', 'queued', 'backing_off') THEN missing_executor(pool, (
           SELECT v.spec FROM job_versions AS v
           WHERE v.job_id = runs.job_id AND v.version = runs.job_version), $3) END AS held_by,
       CASE WHEN state = 'running' THEN (
           SELECT jsonb_build_object('done', p.done, 'total', p.total, 'message', p.message) FROM live_progress AS p
           WHERE p.run_id = runs.id AND p.attempt = runs.attempt) END AS progress
FROM runs_of(ARRAY[$2::uuid]) AS runs WHERE tenant = $1;

-- name: list_attempts
SELECT attempt, outcome, reason, exit_code, signal, http_status, exception, executor, started_at, finished_at,
       elapsed_s, cpu_s, round((100 * cpu_s / nullif(elapsed_s, 0))::numeric, 1)::float8 AS cpu_percent,
       peak_memory_bytes, read_bytes, written_bytes, limited_by, metrics, progress, output_bytes, late_end
FROM attempts_of(ARRAY[$1::uuid]) ORDER BY attempt;

-- name: list_outputs
SELECT attempt, outcome, output_head AS head, output_tail AS tail, output_bytes AS total_bytes
FROM attempts_of(ARRAY[$1::uuid]) WHERE $2::int IS NULL OR attempt = $2 ORDER BY attempt;

-- name: list_edges
SELECT j.name AS job, e.upstream_run_id AS run, e.condition AS when, e.state
FROM edges_of(ARRAY[$1::uuid]) AS e JOIN jobs AS j ON j.id = e.upstream_job_id ORDER BY j.name;

-- name: list_verdicts
SELECT f.id, j.name AS job, f.verdict, f.reason, f.run_id, r.state, r.outcome, r.reason AS run_reason, r.result
FROM firings AS f JOIN jobs AS j ON j.id = f.job_id
LEFT JOIN runs_of(ARRAY(SELECT run_id FROM firings WHERE id = ANY ($1::uuid[]) AND run_id IS NOT NULL)) AS r
          ON r.id = f.run_id
WHERE f.id = ANY ($1::uuid[]);

-- name: list_executors
-- alive: heard of within the lease, and not ended in order.
SELECT name, pool, slots, busy, cpu, memory_bytes, disk_bytes, sandboxes, handlers, labels, host, pid, version, draining, held, drain_at, started_at, seen_at,
       stopped_at,
       stopped_at IS NULL AND seen_at > now() - $1::float8 * interval '1 second' AS alive
FROM executors WHERE stopped_at IS NULL OR stopped_at > now() - interval '1 day'
ORDER BY alive DESC, name, started_at;

-- name: count_health
-- An undecided firing is one to be swept: by that it is found, among millions that are decided.
SELECT (SELECT count(*) FROM jobs WHERE tenant = $1 AND deleted_at IS NULL)::int AS jobs,
       (SELECT count(*) FROM runs WHERE tenant = $1 AND state = 'ready')::int AS backlog,
       (SELECT coalesce(extract(epoch FROM now() - min(ready_at)), 0) FROM runs
        WHERE tenant = $1 AND state = 'ready')::float8 AS lag_s,
       (SELECT count(*) FROM runs WHERE tenant = $1 AND state = 'queued')::int AS queued,
       (SELECT count(*) FROM runs WHERE tenant = $1 AND state = 'running')::int AS running,
       (SELECT count(*) FROM runs WHERE tenant = $1 AND state = 'failed' AND discarded_at IS NULL
        AND retried_by IS NULL)::int AS dead_runs,
       (SELECT count(*) FROM firings
        WHERE tenant = $1 AND verdict IS NULL AND sweep_at IS NOT NULL AND fires_at <= now())::int AS undecided_firings,
       (SELECT coalesce(greatest(extract(epoch FROM now() - min(next_at)), 0), 0) FROM triggers
        WHERE tenant = $1 AND active AND next_at IS NOT NULL)::float8 AS ticker_lag_s,
       (SELECT count(*) FROM firings
        WHERE tenant = $1 AND verdict IS NULL AND sweep_at IS NOT NULL AND reason IS NOT NULL)::int AS put_off_firings,
       (SELECT count(*) FROM triggers WHERE tenant = $1 AND trouble IS NOT NULL AND removed_at IS NULL)::int
           AS unplanned_triggers,
       (SELECT coalesce(array_agg(DISTINCT tzdata ORDER BY tzdata), '{}') FROM tickers
        WHERE seen_at > now() - interval '30 seconds') AS zone_data,
       (SELECT count(*) FROM executors WHERE stopped_at IS NULL
        AND seen_at > now() - $2::float8 * interval '1 second')::int AS executors,
       (SELECT count(*) FROM recorders WHERE stopped_at IS NULL AND seen_at > now() - $2::float8 * interval '1 second')::int AS recorders,
       (SELECT paused_at FROM tenants WHERE name = $1) AS paused_at,
       (SELECT count(*) FROM jobs WHERE tenant = $1 AND deleted_at IS NULL AND paused_at IS NOT NULL)::int AS paused_jobs,
       (SELECT count(*) FROM jobs WHERE tenant = $1 AND deleted_at IS NULL AND NOT enabled)::int AS disabled_jobs,
       h.next_at AS retention_next_at, h.finished_at AS retention_finished_at, h.done AS retention_done,
       h.trouble AS retention_trouble, h.next_at < now() - interval '6 hours' AS retention_is_late
FROM retaining AS h;

-- name: list_held
-- Why runs of the backlog, or handed back, cannot be taken, and how many they are.
SELECT held_by, sum(runs)::int AS runs
FROM (SELECT missing_executor(r.pool, v.spec, $2) AS held_by, r.runs
      FROM (SELECT pool, job_id, job_version, count(*) AS runs FROM runs
            WHERE tenant = $1 AND state IN ('ready', 'queued', 'backing_off') GROUP BY 1, 2, 3) AS r
      JOIN job_versions AS v ON v.job_id = r.job_id AND v.version = r.job_version) AS found
WHERE held_by IS NOT NULL GROUP BY held_by ORDER BY held_by;

-- name: list_long_lines
-- Jobs with more than $2 runs in line for their turn.
SELECT j.name AS job, (SELECT count(*) FROM runs AS r
                       WHERE r.job_id = j.id AND r.state = 'waiting' AND r.turn = 'awaits')::int AS runs
FROM jobs AS j
WHERE j.tenant = $1 AND j.deleted_at IS NULL AND EXISTS (
    SELECT FROM runs AS r WHERE r.job_id = j.id AND r.state = 'waiting' AND r.turn = 'awaits' OFFSET $2)
ORDER BY runs DESC, j.name;

-- name: is_idle
-- Nothing will happen by itself any more.
SELECT NOT EXISTS (SELECT FROM triggers WHERE active AND next_at IS NOT NULL)
   AND NOT EXISTS (SELECT FROM firings WHERE sweep_at IS NOT NULL)
   AND NOT EXISTS (SELECT FROM runs WHERE state IN ('ready', 'queued', 'running', 'backing_off'))
   AND NOT EXISTS (SELECT FROM runs WHERE sweep_at IS NOT NULL)
   AND NOT EXISTS (SELECT FROM runs WHERE state = 'waiting' AND needs_unbound = 0)
   AND NOT EXISTS (SELECT FROM backfills WHERE sweep_at IS NOT NULL) AS idle;

-- name: list_new_runs
SELECT id, tenant, flow_id, traceparent, job_name AS job, state, outcome, reason, attempt, created_at, claimed_at,
       finished_at
FROM runs WHERE id > $1 OR id = ANY ($2::uuid[]) ORDER BY id;

-- name: list_next
-- Looks no further than the triggers that are due first, of all tenants: the index is by time alone.
SELECT j.name AS job, t.key AS trigger, t.next_at AS fires_at FROM triggers AS t JOIN jobs AS j ON j.id = t.job_id
WHERE t.tenant = $1 AND t.active AND t.next_at IS NOT NULL ORDER BY t.next_at, t.id LIMIT $2;

-- name: get_flow
SELECT f.id, j.name AS job, f.firing_id, f.started_at
FROM (SELECT id, tenant, job_id, firing_id, started_at FROM flows WHERE id = $2
      UNION ALL
      SELECT r.id, r.tenant, r.job_id, r.firing_id, r.created_at
      FROM runs_of((SELECT array_agg(run_id) FROM past_flow($2) WHERE is_root)) AS r) AS f
JOIN jobs AS j ON j.id = f.job_id
WHERE f.tenant = $1;

-- name: list_flow_runs
-- Its own runs, and those of other flows that it joined.
SELECT id, job_name AS job, state, outcome, reason, attempt, created_at, finished_at
FROM runs_of(ARRAY(SELECT id FROM runs WHERE id = $1 UNION SELECT id FROM runs WHERE flow_id = $1 AND flow_id <> id
                   UNION SELECT run_id FROM flow_joins WHERE flow_id = $1
                   UNION SELECT run_id FROM past_flow($1)
                   UNION SELECT unnest(joined) FROM past_flow($1)))
ORDER BY id;

-- name: list_edges_of
SELECT e.run_id, j.name AS job, e.upstream_run_id AS run, e.condition AS when, e.state
FROM edges_of($1::uuid[]) AS e JOIN jobs AS j ON j.id = e.upstream_job_id ORDER BY j.name;
