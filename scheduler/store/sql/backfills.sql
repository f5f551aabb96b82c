-- name: list_triggers
-- With those that an edit removed: they are what was planned before it.
SELECT t.id, t.tenant, t.job_id, t.key, t.anchor_at, t.last_at, t.removed_at IS NULL AND t.enabled AS is_current,
       (t.spec ->> 'max_fires')::int - t.fired AS left_to_fire
FROM triggers AS t JOIN jobs AS j ON j.id = t.job_id
WHERE j.tenant = $1 AND j.name = $2 AND j.deleted_at IS NULL AND t.kind = ANY ($3::text[]) ORDER BY t.key;

-- name: list_versions
SELECT job_id, version, applied_at FROM job_versions WHERE job_id = ANY ($1::uuid[]) ORDER BY job_id, applied_at, version;

-- name: list_calendar_versions
SELECT name, version, data, applied_at FROM calendar_versions
WHERE tenant = $1 AND name = ANY ($2::text[]) ORDER BY name, applied_at, version;

-- name: list_ledger
-- The rows of these triggers between two instants, and the one before, which may be a stretch that reaches in.
SELECT f.* FROM unnest($1::uuid[]) AS t (id) CROSS JOIN LATERAL (
    (SELECT id, trigger_id, fires_at, to_at, wall_time, verdict FROM firings
     WHERE trigger_id = t.id AND fires_at < $2 ORDER BY fires_at DESC LIMIT 1)
    UNION ALL
    (SELECT id, trigger_id, fires_at, to_at, wall_time, verdict FROM firings
     WHERE trigger_id = t.id AND fires_at BETWEEN $2 AND $3 ORDER BY fires_at)) AS f;

-- name: list_taken
-- Instants that an open backfill has in hand; with $4 also those that an earlier one has run.
SELECT i.trigger_id, i.fires_at, i.wall_time
FROM backfill_instants AS i JOIN backfills AS b ON b.id = i.backfill_id
WHERE i.trigger_id = ANY ($1::uuid[]) AND i.fires_at BETWEEN $2 AND $3
  AND ((b.finished_at IS NULL AND b.cancelled_at IS NULL) OR ($4 AND i.run_id IS NOT NULL));

-- name: insert_backfill
INSERT INTO backfills (id, tenant, job_id, from_at, to_at, again, max_parallel, priority, instants, sweep_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, now());

-- name: insert_instants
INSERT INTO backfill_instants (backfill_id, position, tenant, trigger_id, fires_at, wall_time, zone, firing_id,
                               job_version, in_force, params)
SELECT $1, position, $2, trigger_id, fires_at, wall_time, zone, firing_id, job_version, in_force, params::jsonb
FROM unnest($3::int[], $4::uuid[], $5::timestamptz[], $6::text[], $7::text[], $8::uuid[], $9::int[], $10::bool[],
            $11::text[])
     AS i (position, trigger_id, fires_at, wall_time, zone, firing_id, job_version, in_force, params);

-- name: insert_event
INSERT INTO events (id, tenant, source, topic, data, verdict, decided_at)
VALUES ($1, $2, CASE WHEN current_tenant() IS NULL THEN 'cli' ELSE 'api' END, 'job.backfill', $3, 'started', now());

-- name: lock_backfill
SELECT b.id, b.tenant, b.job_id, b.max_parallel, b.priority, b.instants, b.released, b.cancelled_at, t.revision
FROM backfills AS b JOIN tenants AS t ON t.name = b.tenant
WHERE b.id = $1 AND b.finished_at IS NULL FOR NO KEY UPDATE OF b;

-- name: count_open
SELECT count(*)::int FROM runs WHERE backfill_id = $1 AND finished_at IS NULL;

-- name: next_instants
SELECT position, fires_at, firing_id, job_version, params FROM backfill_instants
WHERE backfill_id = $1 AND position >= $2 ORDER BY position LIMIT $3;

-- name: set_runs
UPDATE backfill_instants AS i SET run_id = r.run_id FROM unnest($2::int[], $3::uuid[]) AS r (position, run_id)
WHERE i.backfill_id = $1 AND i.position = r.position;

-- name: move_on
-- Looked at again when one of its runs ends; the sweep is for an end that nobody heard of.
UPDATE backfills SET released = $2, sweep_at = now() + interval '10 seconds' WHERE id = $1;

-- name: finish
UPDATE backfills SET finished_at = now(), sweep_at = NULL WHERE id = $1;

-- name: cancel
UPDATE backfills SET cancelled_at = now(), reason = $2, sweep_at = now() WHERE id = $1 AND cancelled_at IS NULL RETURNING id;

-- name: list_due
SELECT id FROM backfills WHERE sweep_at <= now() ORDER BY sweep_at LIMIT $1;

-- name: postpone
UPDATE backfills SET sweep_at = now() + least(greatest(now() - requested_at, interval '10 seconds'), interval '1 hour')
WHERE id = $1 AND finished_at IS NULL;

-- name: list_backfills
-- Newest first; after is the id of the last one of the page before.
SELECT b.id, j.name AS job, b.from_at, b.to_at, b.again, b.max_parallel, b.priority, b.instants, b.released,
       b.requested_at, b.cancelled_at, b.finished_at, b.reason
FROM backfills AS b JOIN jobs AS j ON j.id = b.job_id
WHERE b.tenant = $1 AND ($2::text IS NULL OR j.name = $2) AND ($3::uuid IS NULL OR b.id < $3)
  AND ($4::uuid IS NULL OR b.id = $4)
ORDER BY b.id DESC LIMIT $5;

-- name: count_runs
SELECT i.backfill_id, r.state, count(*)::int AS runs
FROM backfill_instants AS i JOIN runs AS r ON r.id = i.run_id
WHERE i.backfill_id = ANY ($1::uuid[]) GROUP BY i.backfill_id, r.state;

-- name: count_past_runs
SELECT i.backfill_id, r.state, count(*)::int AS runs
FROM backfill_instants AS i JOIN past_runs AS r ON r.id = i.run_id
WHERE i.backfill_id = ANY ($1::uuid[]) GROUP BY i.backfill_id, r.state;

-- name: list_instants
WITH page AS MATERIALIZED (
    SELECT * FROM backfill_instants WHERE backfill_id = $1 AND position > $2 ORDER BY position LIMIT $3)
SELECT i.position, t.key AS trigger, i.fires_at, i.wall_time, i.zone, f.verdict, i.firing_id, i.job_version, i.in_force,
       i.run_id, r.state, r.outcome, r.reason
FROM page AS i
LEFT JOIN triggers AS t ON t.id = i.trigger_id
LEFT JOIN firings AS f ON f.id = i.firing_id
LEFT JOIN runs_of(ARRAY(SELECT run_id FROM page WHERE run_id IS NOT NULL)) AS r ON r.id = i.run_id
ORDER BY i.position;
