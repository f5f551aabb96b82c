-- name: lock_undecided
-- Firings that wait for their verdict. A row another Dispatcher holds is being decided there.
SELECT f.id, f.tenant, f.kind, f.job_id, f.job_version, f.fires_at, f.params, f.retry_of, f.traceparent, t.revision,
       coalesce(f.start_until < now(), false) AS is_late
FROM firings AS f JOIN tenants AS t ON t.name = f.tenant
WHERE f.id = ANY ($1::uuid[]) AND CASE WHEN f.verdict IS NULL THEN true ELSE false END
ORDER BY f.id FOR UPDATE OF f SKIP LOCKED;

-- name: lock_forgotten
-- Firings whose message may be lost.
SELECT f.id, f.tenant, f.kind, f.job_id, f.job_version, f.fires_at, f.params, f.retry_of, f.traceparent, t.revision,
       coalesce(f.start_until < now(), false) AS is_late
FROM firings AS f JOIN tenants AS t ON t.name = f.tenant
WHERE f.verdict IS NULL AND f.sweep_at <= now()
ORDER BY f.sweep_at LIMIT $1 FOR UPDATE OF f SKIP LOCKED;

-- name: lock_jobs
-- Whoever counts runs of a job, or looks for one to join, holds the job: no second count beside it.
SELECT id, enabled, paused_at IS NOT NULL AS paused, deleted_at IS NOT NULL AS deleted
FROM jobs WHERE id = ANY ($1::uuid[]) ORDER BY id FOR NO KEY UPDATE;

-- name: count_active
-- Runs of backfills have a limit of their own and stand in nobody's way.
SELECT job_id, count(*)::int AS active, (array_agg(id ORDER BY id))[1] AS oldest
FROM runs WHERE job_id = ANY ($1::uuid[]) AND state IN ('ready', 'queued', 'running', 'backing_off') AND backfill_id IS NULL
GROUP BY job_id;

-- name: find_twin
SELECT id FROM runs WHERE job_id = $1 AND unique_key = $2 AND created_at > now() - $3::float8 * interval '1 second'
ORDER BY created_at DESC LIMIT 1;

-- name: decide_firings
WITH verdicts AS (
    UPDATE firings AS f
    SET verdict = d.verdict, reason = d.reason, run_id = d.run_id, blocking_run_id = d.blocking_run_id,
        decided_at = now(), sweep_at = NULL, held_rank = NULL
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::uuid[])
         AS d (id, verdict, reason, run_id, blocking_run_id)
    WHERE f.id = d.id AND CASE WHEN f.verdict IS NULL THEN true ELSE false END
    RETURNING f.id, f.tenant, f.job_id, f.verdict
)
INSERT INTO feed (tenant, fact, ids, job_ids)
SELECT tenant, 'firing.' || verdict, array_agg(id), array_agg(job_id) FROM verdicts GROUP BY tenant, verdict;

-- name: start_flows
-- One statement for what most firings come to: the verdict, a flow, its runs.
-- queue_s: seconds a run may wait in ready and queued together (timeout.queue); null: no limit.
-- $35: seconds after which an offer is looked at again.
WITH verdicts AS (
    UPDATE firings AS f
    SET verdict = d.verdict, reason = d.reason, run_id = d.run_id, blocking_run_id = d.blocking_run_id,
        decided_at = now(), sweep_at = NULL, held_rank = NULL
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::uuid[])
         AS d (id, verdict, reason, run_id, blocking_run_id)
    WHERE f.id = d.id AND CASE WHEN f.verdict IS NULL THEN true ELSE false END
    RETURNING f.id, f.tenant, f.job_id, f.verdict
), said AS (
    INSERT INTO feed (tenant, fact, ids, job_ids)
    SELECT tenant, 'firing.' || verdict, array_agg(id), array_agg(job_id) FROM verdicts GROUP BY tenant, verdict
), started AS (
    INSERT INTO flows (id, tenant, job_id, firing_id)
    SELECT * FROM unnest($6::uuid[], $7::text[], $8::uuid[], $9::uuid[])
)
INSERT INTO runs (id, tenant, job_id, job_version, job_name, flow_id, firing_id, fired_at, state, pool, priority,
                  params, retry_of, needs_open, needs_unbound, needs_any, has_downstream, ready_at, queue_until,
                  sweep_at, finished_at, reason, lease_token, queued_at, intent, turn, backfill_id,
                  limit_key, limit_most, unique_key)
SELECT id, tenant, job_id, job_version, job_name, flow_id, firing_id, fired_at, state, pool, priority,
       params::jsonb, retry_of, needs_open, needs_unbound, needs_any, has_downstream,
       CASE WHEN state IN ('ready', 'queued') THEN now() END,
       now() + queue_s * interval '1 second',
       CASE WHEN state = 'ready' THEN now() + queue_s * interval '1 second'
            WHEN state = 'queued' THEN now() + $35::float8 * interval '1 second'
            WHEN state IN ('skipped', 'failed') AND has_downstream THEN now() END,
       CASE WHEN state IN ('skipped', 'failed') THEN now() END, reason, lease_token,
       CASE WHEN state = 'queued' THEN now() END, CASE WHEN state = 'queued' THEN 1 ELSE 0 END, turn, backfill_id,
       limit_key, limit_most, unique_key
FROM unnest($10::uuid[], $11::text[], $12::uuid[], $13::int[], $14::text[], $15::uuid[], $16::uuid[], $17::timestamptz[],
            $18::text[], $19::text[], $20::int[], $21::text[], $22::uuid[], $23::int[], $24::int[], $25::bool[],
            $26::bool[], $27::float8[], $28::text[], $29::uuid[], $30::text[], $31::uuid[], $32::text[], $33::int[], $34::text[])
     AS r (id, tenant, job_id, job_version, job_name, flow_id, firing_id, fired_at, state, pool, priority, params,
           retry_of, needs_open, needs_unbound, needs_any, has_downstream, queue_s, reason, lease_token, turn, backfill_id,
           limit_key, limit_most, unique_key);

-- name: say_stillborn
-- Runs that were over when their flow was written; few flows have any.
INSERT INTO feed (tenant, fact, ids, job_ids)
SELECT tenant, 'run.' || state, array_agg(id), array_agg(job_id)
FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[]) AS r (id, tenant, job_id, state) GROUP BY tenant, state;

-- name: trace_runs
-- Few flows are given a trace, so that all others pay nothing for it.
UPDATE runs AS r SET traceparent = t.traceparent
FROM unnest($1::uuid[], $2::text[]) AS t (id, traceparent) WHERE r.id = t.id;

-- name: insert_edges
INSERT INTO run_edges (run_id, upstream_job_id, tenant, upstream_run_id, condition, delay)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::text[], $6::interval[]);

-- name: mark_retried
UPDATE runs AS old SET retried_by = new.id
FROM unnest($1::uuid[], $2::uuid[]) AS new (id, retry_of)
WHERE old.id = new.retry_of AND old.retried_by IS NULL
RETURNING old.id;

-- name: mark_past_retried
UPDATE past_runs SET retried_by = $1 WHERE id = $2 AND retried_by IS NULL;

-- name: find_joinable
-- Waiting runs of these jobs that a new flow may join, with the upstream runs they are tied to.
SELECT r.id, r.job_id, r.needs_unbound, e.upstream_job_id, e.upstream_run_id
FROM runs AS r JOIN run_edges AS e ON e.run_id = r.id
WHERE r.job_id = ANY ($1::uuid[]) AND r.state = 'waiting'
ORDER BY r.id FOR UPDATE OF r;

-- name: bind_edges
-- A flow brings the upstream run that a waiting run of an earlier flow was waiting for.
UPDATE run_edges AS e SET upstream_run_id = b.upstream_run_id
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS b (run_id, upstream_job_id, upstream_run_id)
WHERE e.run_id = b.run_id AND e.upstream_job_id = b.upstream_job_id AND e.upstream_run_id IS NULL;

-- name: count_bound
UPDATE runs AS r SET needs_unbound = r.needs_unbound - b.bound
FROM unnest($1::uuid[], $2::int[]) AS b (id, bound) WHERE r.id = b.id;

-- name: owe_step
-- Runs of earlier flows that a new flow hangs its own runs on: their ends owe a DAG step from now on.
UPDATE runs SET has_downstream = true WHERE id = ANY ($1::uuid[]) AND NOT has_downstream;

-- name: insert_joins
INSERT INTO flow_joins (flow_id, run_id, tenant)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[]) ON CONFLICT DO NOTHING;

-- name: take_owed
-- Ended runs whose DAG step is not done; the caller does it in this transaction. One that takes
-- turns, or belongs to a backfill, owes more: the next one is started in a transaction of its own,
-- which holds the job or the backfill first.
UPDATE runs SET sweep_at = CASE WHEN turn IS NOT NULL OR backfill_id IS NOT NULL THEN now() + interval '3 seconds' END
WHERE id IN (SELECT id FROM runs
             WHERE id = ANY ($1::uuid[]) AND CASE WHEN finished_at IS NOT NULL THEN sweep_at IS NOT NULL ELSE false END
             ORDER BY id FOR UPDATE SKIP LOCKED)
RETURNING id, tenant, job_id, job_name, state, turn, backfill_id,
          (SELECT t.revision FROM tenants AS t WHERE t.name = runs.tenant) AS revision;

-- name: decide_edges
-- Each need is decided once, by the end of the run it waited for.
UPDATE run_edges AS e
SET state = CASE WHEN e.condition IN (u.state, 'finished') THEN 'met' ELSE 'unmet' END
FROM unnest($1::uuid[], $2::text[], $3::text[]) AS u (id, state, job_name)
WHERE e.upstream_run_id = u.id AND CASE e.state WHEN 'open' THEN true ELSE false END
RETURNING e.run_id, e.state, e.delay, u.job_name || ' ' || u.state AS what_happened;

-- name: lock_waiting
SELECT id, needs_open, needs_met, needs_any, release_at, turn IS NOT NULL AS takes_turns,
       (SELECT count(*)::int FROM run_edges WHERE run_id = runs.id) AS needs
FROM runs WHERE id = ANY ($1::uuid[]) AND state = 'waiting' AND turn IS DISTINCT FROM 'awaits' ORDER BY id FOR UPDATE;

-- name: count_needs
-- release_s: the longest delay among the needs just met; the run is released at the latest of all.
-- One that is released and waits on (for that time, or to take its turn) is looked at by a Ticker.
WITH moved AS (
    UPDATE runs AS r
    SET needs_open = n.needs_open, needs_met = n.needs_met,
        release_at = greatest(r.release_at, now() + n.release_s * interval '1 second'),
        state = n.state,
        ready_at = CASE WHEN n.state = 'ready' THEN now() END,
        queue_until = CASE WHEN n.state = 'ready' THEN now() + (r.queue_until - r.created_at) ELSE r.queue_until END,
        finished_at = CASE WHEN n.state = 'skipped' THEN now() END,
        reason = coalesce(n.reason, r.reason),
        sweep_at = CASE n.state
            WHEN 'ready' THEN now() + (r.queue_until - r.created_at)
            WHEN 'skipped' THEN CASE WHEN r.has_downstream THEN now() END
            WHEN 'waiting' THEN
                CASE WHEN n.released THEN coalesce(greatest(r.release_at, now() + n.release_s * interval '1 second'), now()) END
        END
    FROM unnest($1::uuid[], $2::int[], $3::int[], $4::float8[], $5::text[], $6::bool[], $7::text[])
         AS n (id, needs_open, needs_met, release_s, state, released, reason)
    WHERE r.id = n.id
    RETURNING r.id, r.state, r.pool, r.sweep_at, r.tenant, r.job_id
), said AS (
    INSERT INTO feed (tenant, fact, ids, job_ids)
    SELECT tenant, 'run.skipped', array_agg(id), array_agg(job_id) FROM moved WHERE state = 'skipped' GROUP BY tenant
)
SELECT id, state, pool, sweep_at FROM moved;
