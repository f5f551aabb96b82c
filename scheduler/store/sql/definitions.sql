-- name: lock_tenant
-- One change of a tenant's definitions at a time.
INSERT INTO tenants (name) VALUES ($1) ON CONFLICT (name) DO UPDATE SET name = excluded.name;

-- name: upsert_pools
INSERT INTO pools (name, queue_limit, handlers, labels)
SELECT name, queue_limit, ARRAY(SELECT jsonb_array_elements_text(handlers::jsonb)),
       ARRAY(SELECT jsonb_array_elements_text(labels::jsonb))
FROM unnest($1::text[], $2::int[], $3::text[], $4::text[]) AS p (name, queue_limit, handlers, labels)
ON CONFLICT (name) DO UPDATE
SET queue_limit = excluded.queue_limit, handlers = excluded.handlers, labels = excluded.labels
WHERE (pools.queue_limit, pools.handlers, pools.labels) IS DISTINCT FROM
      (excluded.queue_limit, excluded.handlers, excluded.labels)
RETURNING name;

-- name: ask_executors
-- Who lives in these pools is asked for a heartbeat: its answer tells whether it still belongs there.
SELECT pg_notify('scheduler_executors', boot_id || ' ' || name) FROM executors
WHERE pool = ANY ($1::text[]) AND stopped_at IS NULL;

-- name: list_unknown_pools
SELECT name FROM unnest($1::text[]) AS wanted (name) EXCEPT SELECT name FROM pools ORDER BY 1;

-- name: lock_all_jobs
-- Every job of the tenant, with what its file would make of it: jsonb compares 1.0 and 1 as equal.
SELECT j.id, j.name, j.version, j.source, j.enabled, j.deleted_at IS NOT NULL AS deleted, v.spec,
       w.spec IS NOT NULL AS wanted, w.spec IS DISTINCT FROM v.spec AS differs
FROM jobs AS j
JOIN job_versions AS v ON v.job_id = j.id AND v.version = j.version
LEFT JOIN unnest($2::text[], $3::jsonb[]) AS w (name, spec) ON w.name = j.name
WHERE j.tenant = $1
ORDER BY j.id FOR NO KEY UPDATE OF j;

-- name: insert_jobs
INSERT INTO jobs (id, tenant, name, version, source, enabled)
SELECT id, $1, name, 1, $2, enabled FROM unnest($3::uuid[], $4::text[], $5::bool[]) AS new (id, name, enabled);

-- name: update_jobs
UPDATE jobs AS j SET version = u.version, source = $1, enabled = u.enabled, deleted_at = NULL, updated_at = now()
FROM unnest($2::uuid[], $3::int[], $4::bool[]) AS u (id, version, enabled) WHERE j.id = u.id;

-- name: adopt_jobs
-- The same definition, now applied from another source.
UPDATE jobs SET source = $1 WHERE id = ANY ($2::uuid[]) AND source IS DISTINCT FROM $1;

-- name: insert_versions
INSERT INTO job_versions (job_id, version, tenant, spec)
SELECT job_id, version, $1, spec FROM unnest($2::uuid[], $3::int[], $4::jsonb[]) AS new (job_id, version, spec);

-- name: delete_jobs
UPDATE jobs SET deleted_at = now(), updated_at = now() WHERE id = ANY ($1::uuid[]) AND deleted_at IS NULL;

-- name: lock_triggers
SELECT id, job_id, job_version, key, kind, spec, enabled, anchor_at, last_at, next_at, fired,
       removed_at IS NOT NULL AS removed,
       trouble, tzdata
FROM triggers WHERE job_id = ANY ($1::uuid[]) ORDER BY id FOR UPDATE;

-- name: upsert_triggers
INSERT INTO triggers (id, tenant, job_id, job_version, key, kind, spec, enabled, active, anchor_at, last_at, next_at, fired,
                      tzdata)
SELECT id, $1, job_id, job_version, key, kind, spec, enabled, true, anchor_at, last_at, next_at, fired, tzdata
FROM unnest($2::uuid[], $3::uuid[], $4::int[], $5::text[], $6::text[], $7::jsonb[], $8::bool[], $9::timestamptz[],
            $10::timestamptz[], $11::timestamptz[], $12::int[], $13::text[])
     AS new (id, job_id, job_version, key, kind, spec, enabled, anchor_at, last_at, next_at, fired, tzdata)
ON CONFLICT (id) DO UPDATE
SET job_version = excluded.job_version, spec = excluded.spec, enabled = excluded.enabled, anchor_at = excluded.anchor_at, last_at = excluded.last_at,
    next_at = excluded.next_at, fired = excluded.fired, removed_at = NULL, trouble = NULL,
    tzdata = excluded.tzdata,
    calendar_version = CASE WHEN excluded.spec #> '{calendar}' = triggers.spec #> '{calendar}'
        THEN triggers.calendar_version END;

-- name: remove_triggers
UPDATE triggers SET removed_at = $2 WHERE id = ANY ($1::uuid[]) AND removed_at IS NULL;

-- name: record_superseded
-- Instants of a changed or removed trigger that were due and not planned: one row for the stretch.
WITH recorded AS (
    INSERT INTO firings (id, tenant, kind, trigger_id, job_id, job_version, fires_at, to_at, count, wall_time, zone,
                         verdict, reason, decided_at)
    SELECT id, $1, 'time', trigger_id, job_id, job_version, fires_at, nullif(to_at, fires_at), count, wall_time, zone,
           'superseded', reason, now()
    FROM unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::int[], $6::timestamptz[], $7::timestamptz[], $8::int[],
                $9::text[], $10::text[], $11::text[])
         AS s (id, trigger_id, job_id, job_version, fires_at, to_at, count, wall_time, zone, reason)
    ON CONFLICT ON CONSTRAINT firings_instant_is_unique DO NOTHING
    RETURNING id, tenant, job_id
)
INSERT INTO feed (tenant, fact, ids, job_ids)
SELECT tenant, 'firing.superseded', array_agg(id), array_agg(job_id) FROM recorded GROUP BY tenant;

-- name: supersede_held
-- What pacing holds of triggers that were changed or removed.
WITH moved AS (
    UPDATE firings AS f
    SET verdict = 'superseded', reason = o.reason, decided_at = now(), sweep_at = NULL, held_rank = NULL
    FROM unnest($1::uuid[], $2::text[]) AS o (trigger_id, reason)
    WHERE f.trigger_id = o.trigger_id AND f.id IN (
        SELECT id FROM firings WHERE trigger_id = ANY ($1) AND held_rank IS NOT NULL AND verdict IS NULL
        FOR UPDATE SKIP LOCKED)
    RETURNING f.id, f.tenant, f.job_id
)
INSERT INTO feed (tenant, fact, ids, job_ids)
SELECT tenant, 'firing.superseded', array_agg(id), array_agg(job_id) FROM moved GROUP BY tenant;

-- name: take_back
-- Firings that were written down before their instant, which is still to come: as if they had not been.
-- The caller holds the triggers. What a Dispatcher holds is being decided; what lies further ahead than
-- any lead was written before the clock was set back.
WITH taken AS (
    DELETE FROM firings WHERE id IN (
        SELECT f.id FROM triggers AS t JOIN firings AS f ON f.trigger_id = t.id
        WHERE t.tenant = $1 AND ($2::uuid[] IS NULL OR t.job_id = ANY ($2))
          AND f.fires_at > $3 AND f.fires_at < $3 + interval '1 minute'
          AND (f.verdict IS NULL OR f.verdict IN ('skipped_calendar', 'dst_gap'))
        FOR UPDATE OF f SKIP LOCKED)
    RETURNING trigger_id, fires_at, verdict
)
UPDATE triggers AS t
SET last_at = least(t.last_at, b.first_at - interval '1 microsecond'), next_at = least(t.next_at, b.first_at),
    fired = t.fired - b.count
FROM (SELECT trigger_id, min(fires_at) AS first_at, (count(*) FILTER (WHERE verdict IS NULL))::int AS count
      FROM taken GROUP BY trigger_id) AS b
WHERE t.id = b.trigger_id
RETURNING t.id;

-- name: activate_triggers
-- The one place that decides whether a trigger is planned. What comes back to life was held until now.
UPDATE triggers AS t
SET active = s.active, held_until = CASE WHEN s.active AND NOT t.active THEN $3 ELSE t.held_until END,
    held_as = CASE WHEN NOT s.active OR t.active THEN t.held_as END
FROM (SELECT t.id, t.enabled AND t.removed_at IS NULL AND j.enabled AND j.paused_at IS NULL
             AND j.deleted_at IS NULL AND n.paused_at IS NULL AND n.suspended_at IS NULL AS active
      FROM triggers AS t JOIN jobs AS j ON j.id = t.job_id JOIN tenants AS n ON n.name = j.tenant
      WHERE j.tenant = $1 AND ($2::uuid[] IS NULL OR j.id = ANY ($2))) AS s
WHERE t.id = s.id AND t.active IS DISTINCT FROM s.active;

-- name: count_revision
UPDATE tenants SET revision = revision + 1 WHERE name = $1;

-- name: ring
SELECT pg_notify($1, $2);

-- name: list_current
SELECT j.name, j.source, v.spec FROM jobs AS j
JOIN job_versions AS v ON v.job_id = j.id AND v.version = j.version
WHERE j.tenant = $1 AND j.deleted_at IS NULL ORDER BY j.name;

-- name: list_current_versions
SELECT name, source, id, version FROM jobs WHERE tenant = $1 AND deleted_at IS NULL ORDER BY name;

-- name: get_versions
SELECT v.job_id, v.version, v.spec
FROM unnest($2::uuid[], $3::int[]) AS w (job_id, version)
JOIN job_versions AS v ON v.job_id = w.job_id AND v.version = w.version AND v.tenant = $1;

-- name: list_pools
SELECT name, queue_limit, handlers, labels FROM pools ORDER BY name;

-- name: skip_unneeded
-- Runs that wait for an upstream run which no later flow will bring: their job was changed and does
-- not need that job any more, or one of the two was deleted. Nothing else would ever end them.
WITH moved AS (
    UPDATE runs AS r
    SET state = 'skipped', reason = 'its job no longer needs what it waited for', finished_at = now(),
        sweep_at = CASE WHEN r.has_downstream THEN now() END
    WHERE r.tenant = $1 AND r.state = 'waiting' AND r.needs_unbound > 0 AND EXISTS (
        SELECT FROM run_edges AS e
        WHERE e.run_id = r.id AND e.upstream_run_id IS NULL AND e.state = 'open' AND NOT EXISTS (
            SELECT FROM jobs AS j
            JOIN job_versions AS v ON v.job_id = j.id AND v.version = j.version
            CROSS JOIN jsonb_array_elements(v.spec -> 'needs') AS need
            JOIN jobs AS u ON u.tenant = j.tenant AND u.name = need ->> 'job' AND u.deleted_at IS NULL
            WHERE j.id = r.job_id AND j.deleted_at IS NULL AND u.id = e.upstream_job_id))
    RETURNING r.id, r.tenant, r.job_id
), said AS (
    INSERT INTO feed (tenant, fact, ids, job_ids)
    SELECT tenant, 'run.skipped', array_agg(id), array_agg(job_id) FROM moved GROUP BY tenant
)
SELECT id FROM moved;
