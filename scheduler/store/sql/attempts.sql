-- name: claim_attempts
-- Decide a batch of claims. A row goes to the first claim that fits; the same claim asked again
-- gets the same answer. No row back: somebody else has it, it is over (never revive an ended run), or
-- its timeout.queue has passed by this database's clock: the sweep fails it. What is offered a moment ahead of
-- its instant starts at it, not before.
WITH claimed AS (
    UPDATE runs
    SET state = 'running', owner = claim.claim_id, executor = claim.executor, boot_id = claim.boot_id,
        claimed_at = CASE WHEN runs.state = 'queued' THEN greatest(now(), least(fired_at, now() + interval '100 ms'))
                          ELSE runs.claimed_at END,
        lease_until = now() + $7::float8 * interval '1 second', sweep_at = now() + $7::float8 * interval '1 second'
    FROM unnest($1::uuid[], $2::int[], $3::uuid[], $4::uuid[], $5::text[], $6::uuid[])
         AS claim (run_id, attempt, lease_token, claim_id, executor, boot_id)
    WHERE runs.id = claim.run_id AND runs.attempt = claim.attempt AND runs.lease_token = claim.lease_token
      AND CASE runs.state WHEN 'queued' THEN runs.queue_until IS NULL OR runs.queue_until > now()
                          WHEN 'running' THEN runs.owner = claim.claim_id ELSE false END
    RETURNING runs.id, runs.owner, runs.tenant, runs.job_id, runs.attempt, runs.claimed_at >= now() AS is_new
), said AS (
    INSERT INTO feed (tenant, fact, ids, job_ids, attempts)
    SELECT tenant, 'run.started', array_agg(id), array_agg(job_id), array_agg(attempt)
    FROM claimed WHERE is_new GROUP BY tenant
)
SELECT id, owner FROM claimed;

-- name: return_attempts
-- An offer or a grant handed back unstarted: to the backlog, unless somebody has cancelled it
-- meanwhile. A grant only by the claim that holds it. One that the executor cannot run waits a while:
-- it would only be handed back again.
WITH moved AS (
    UPDATE runs SET state = CASE WHEN cancel_at IS NOT NULL THEN 'cancelled' WHEN back.pause_s > 0 THEN 'backing_off'
                                 ELSE 'ready' END,
                    ready_at = now(),
                    lease_token = NULL, owner = NULL, executor = NULL, boot_id = NULL, lease_until = NULL,
                    finished_at = CASE WHEN cancel_at IS NOT NULL THEN now() END,
                    reason = CASE WHEN cancel_at IS NULL THEN coalesce(back.reason, runs.reason) ELSE cancel_reason END,
                    sweep_at = CASE WHEN cancel_at IS NOT NULL THEN CASE WHEN has_downstream THEN now() END
                                    WHEN back.pause_s > 0 THEN now() + back.pause_s * interval '1 second'
                                    ELSE queue_until END
    FROM unnest($1::uuid[], $2::int[], $3::uuid[], $4::uuid[], $5::float8[], $6::text[])
         AS back (run_id, attempt, lease_token, claim_id, pause_s, reason)
    WHERE runs.id = back.run_id AND runs.attempt = back.attempt AND runs.lease_token = back.lease_token
      AND CASE runs.state WHEN 'queued' THEN true WHEN 'running' THEN runs.owner = back.claim_id ELSE false END
    RETURNING runs.id, runs.tenant, runs.pool, runs.job_id, runs.state, runs.attempt
), said AS (
    INSERT INTO feed (tenant, fact, ids, job_ids, attempts)
    SELECT tenant, 'run.' || state, array_agg(id), array_agg(job_id), array_agg(attempt)
    FROM moved WHERE state <> 'ready' GROUP BY tenant, state
)
SELECT id, tenant, pool FROM moved;

-- name: lock_runs
SELECT id, tenant, job_id, job_version, state, attempt, losses, snoozes, lease_token, owner, pool, has_downstream,
       cancel_at IS NOT NULL AS cancelled, cancel_reason, executor, claimed_at, job_name, flow_id, traceparent
FROM runs WHERE id = ANY ($1::uuid[]) ORDER BY id FOR UPDATE;

-- name: settle_succeeded
-- What most ends are: the attempt in hand succeeded. Fence and write in one statement; an end that
-- does not come back is a repeated, late or unknown one and is looked at by itself.
WITH ended AS (
    SELECT * FROM unnest(
        $1::uuid[], $2::int[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::int[], $8::int[], $9::text[],
        $10::text[], $11::bigint[], $12::timestamptz[], $13::timestamptz[], $14::float8[], $15::text[],
        $16::float8[], $17::bigint[], $18::bigint[], $19::bigint[], $20::text[], $21::text[])
    AS e (run_id, attempt, lease_token, claim_id, executor, reason, exit_code, http_status, output_head, output_tail,
          output_bytes, started_at, finished_at, elapsed_s, result,
          cpu_s, peak_memory_bytes, read_bytes, written_bytes, limited_by, metrics)
), moved AS (
    UPDATE runs AS r
    SET state = 'succeeded', outcome = 'succeeded', reason = e.reason, result = e.result::jsonb, finished_at = now(),
        sweep_at = CASE WHEN r.has_downstream THEN now() + interval '3 seconds' END,
        lease_until = NULL, lease_token = NULL
    FROM ended AS e
    WHERE r.id = e.run_id AND r.attempt = e.attempt AND r.lease_token = e.lease_token
      AND CASE r.state WHEN 'running' THEN r.owner = e.claim_id ELSE false END
    RETURNING r.id, r.attempt, r.tenant, r.pool, r.has_downstream, r.job_id
), said AS (
    INSERT INTO feed (tenant, fact, ids, job_ids)
    SELECT tenant, 'run.succeeded', array_agg(id), array_agg(job_id) FROM moved GROUP BY tenant
), kept AS (
    INSERT INTO attempts (run_id, attempt, tenant, claim_id, executor, outcome, reason, exit_code, http_status,
                          output_head, output_tail, output_bytes, started_at, finished_at, elapsed_s,
                          cpu_s, peak_memory_bytes, read_bytes, written_bytes, limited_by, metrics)
    SELECT e.run_id, e.attempt, m.tenant, e.claim_id, e.executor, 'succeeded', e.reason, e.exit_code, e.http_status,
           e.output_head, e.output_tail, e.output_bytes, e.started_at, e.finished_at, e.elapsed_s,
           e.cpu_s, e.peak_memory_bytes, e.read_bytes, e.written_bytes, e.limited_by, e.metrics::jsonb
    FROM moved AS m JOIN ended AS e ON e.run_id = m.id AND e.attempt = m.attempt
    ON CONFLICT (run_id, attempt) DO NOTHING
)
SELECT id, tenant, pool, has_downstream FROM moved;

-- name: settle_attempts
-- Move runs whose attempt ended, and write the attempts. The rows are locked and fenced by the caller.
WITH ended AS (
    SELECT * FROM unnest(
        $1::uuid[], $2::int[], $3::text[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::int[], $9::int[],
        $10::int[], $11::text[], $12::text[], $13::text[], $14::bigint[], $15::timestamptz[], $16::timestamptz[],
        $17::float8[], $18::float8[], $19::bigint[], $20::bigint[], $21::bigint[], $22::text[],
        $23::text[], $24::text[], $25::text[], $26::text[], $27::int[], $28::int[], $29::float8[])
    AS e (run_id, attempt, tenant, claim_id, executor, outcome, reason, exit_code, signal, http_status, exception,
          output_head, output_tail, output_bytes, started_at, finished_at, elapsed_s,
          cpu_s, peak_memory_bytes, read_bytes, written_bytes, limited_by, metrics,
          state, run_reason, result, lost, snoozed, delay_s)
), moved AS (
    UPDATE runs AS r
    SET state = e.state, outcome = e.outcome, reason = e.run_reason, result = coalesce(e.result::jsonb, r.result),
        attempt = CASE WHEN e.state = 'backing_off' THEN r.attempt + 1 ELSE r.attempt END,
        losses = r.losses + e.lost, snoozes = r.snoozes + e.snoozed,
        finished_at = CASE WHEN e.state <> 'backing_off' THEN now() END,
        queue_until = CASE WHEN e.state <> 'backing_off' THEN r.queue_until END,
        sweep_at = CASE WHEN e.state = 'backing_off' THEN now() + e.delay_s * interval '1 second'
                        WHEN r.has_downstream THEN now() + interval '3 seconds' END,
        lease_until = NULL, lease_token = NULL
    FROM ended AS e
    WHERE r.id = e.run_id AND CASE r.state WHEN 'running' THEN true ELSE false END
    RETURNING r.id, r.tenant, r.job_id, r.state, e.attempt
), said AS (
    INSERT INTO feed (tenant, fact, ids, job_ids, attempts)
    SELECT tenant, 'run.' || state, array_agg(id), array_agg(job_id), array_agg(attempt)
    FROM moved GROUP BY tenant, state
)
INSERT INTO attempts (run_id, attempt, tenant, claim_id, executor, outcome, reason, exit_code, signal, http_status,
                      exception, output_head, output_tail, output_bytes, started_at, finished_at, elapsed_s,
                      cpu_s, peak_memory_bytes, read_bytes, written_bytes, limited_by, metrics)
SELECT run_id, attempt, tenant, claim_id, executor, outcome, reason, exit_code, signal, http_status,
       exception, output_head, output_tail, output_bytes, started_at, coalesce(finished_at, now()), elapsed_s,
       cpu_s, peak_memory_bytes, read_bytes, written_bytes, limited_by, metrics::jsonb
FROM ended
ON CONFLICT (run_id, attempt) DO NOTHING;

-- name: keep_late_ends
-- What an executor says of an attempt that was given up is kept, and changes nothing.
UPDATE attempts AS a SET late_end = l.body::jsonb
FROM unnest($1::uuid[], $2::int[], $3::uuid[], $4::text[]) AS l (run_id, attempt, claim_id, body)
WHERE a.run_id = l.run_id AND a.attempt = l.attempt
  AND CASE WHEN a.late_end IS NULL AND a.outcome IN ('lost', 'cancelled')
           THEN a.claim_id IS NOT DISTINCT FROM l.claim_id ELSE false END;

-- name: keep_orphan_ends
INSERT INTO orphan_ends (run_id, attempt, tenant, body)
SELECT run_id, attempt, tenant, body::jsonb
FROM unnest($1::uuid[], $2::int[], $3::text[], $4::text[]) AS o (run_id, attempt, tenant, body)
ON CONFLICT DO NOTHING;

-- name: ring_wake
SELECT pg_notify('scheduler_wake', '');
