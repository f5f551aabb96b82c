-- name: record_executors
-- The newest heartbeat of each executor process.
INSERT INTO executors (boot_id, name, pool, slots, busy, handlers, host, pid, version, draining, stopped_at,
                       cpu, memory_bytes, sandboxes, labels, held, disk_bytes)
SELECT boot_id, name, pool, slots, busy, ARRAY(SELECT jsonb_array_elements_text(handlers::jsonb)), host, pid, version,
       draining, CASE WHEN stopped THEN now() END, cpu, memory_bytes, sandboxes,
       ARRAY(SELECT jsonb_array_elements_text(labels::jsonb)),
       executor_hold(NULL, pool, ARRAY(SELECT jsonb_array_elements_text(handlers::jsonb || labels::jsonb))), disk_bytes
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::int[], $5::int[], $6::text[], $7::text[], $8::int[],
            $9::text[], $10::bool[], $11::bool[], $12::float8[], $13::bigint[], $14::bool[], $15::text[],
            $16::bigint[])
     AS e (boot_id, name, pool, slots, busy, handlers, host, pid, version, draining, stopped, cpu, memory_bytes,
           sandboxes, labels, disk_bytes)
ON CONFLICT (boot_id) DO UPDATE
SET slots = excluded.slots, busy = excluded.busy, handlers = excluded.handlers, draining = excluded.draining,
    labels = excluded.labels, seen_at = now(), stopped_at = excluded.stopped_at,
    held = executor_hold(executors.drain_at, executors.pool, excluded.handlers || excluded.labels)
WHERE executors.stopped_at IS NULL  -- an older heartbeat that comes late revives nobody
RETURNING boot_id, (xmax = 0) AS arrived, held;

-- name: extend_leases
UPDATE runs SET lease_until = now() + $4::float8 * interval '1 second', sweep_at = now() + $4::float8 * interval '1 second'
FROM unnest($1::uuid[], $2::int[], $3::uuid[]) AS held (run_id, attempt, lease_token)
WHERE runs.id = held.run_id AND runs.attempt = held.attempt AND runs.lease_token = held.lease_token
  AND CASE runs.state WHEN 'running' THEN true ELSE false END
RETURNING runs.id, runs.attempt, runs.lease_token, runs.cancel_at IS NOT NULL AS cancelled, runs.cancel_at_once;

-- name: report_recorder
-- How far this Recorder has read the heartbeats. $2 is null until it has read any, or after a
-- break of its link: then it holds every lease of this database.
INSERT INTO recorders (id, read_through, seen_at) VALUES ($1, coalesce($2::timestamptz, '-infinity'), now())
ON CONFLICT (id) DO UPDATE SET read_through = coalesce($2::timestamptz, '-infinity'), seen_at = now();

-- name: leave_recorders
-- Its row stays and bounds what may expire until it is silent for too long, as that of a killed one: the
-- heartbeats it was handed and did not read go back to the queue, behind barriers that others have read.
UPDATE recorders SET stopped_at = now() WHERE id = $1;

-- name: forget_recorders
DELETE FROM recorders WHERE seen_at < now() - interval '1 day';

-- name: find_expired
-- Leases that ended before the moment that every live Recorder has read past.
SELECT id FROM runs
WHERE state = 'running' AND sweep_at < least(now(), (
    SELECT min(read_through) FROM recorders WHERE seen_at > now() - $2::float8 * interval '1 second'))
ORDER BY sweep_at LIMIT $1;

-- name: lock_expired
SELECT id, tenant, job_id, job_version, state, attempt, losses, snoozes, lease_token, owner, pool, has_downstream,
       cancel_at IS NOT NULL AS cancelled, cancel_reason, executor, claimed_at, job_name, flow_id, traceparent
FROM runs
WHERE id = ANY ($1::uuid[]) AND CASE state WHEN 'running' THEN lease_until < now() ELSE false END
ORDER BY id FOR UPDATE SKIP LOCKED;

-- name: database_now
SELECT now();

-- name: forget_executors
DELETE FROM executors WHERE coalesce(stopped_at, seen_at) < now() - interval '1 day';
