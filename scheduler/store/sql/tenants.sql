-- name: insert_tenant
INSERT INTO tenants (name, weight, max_jobs, max_runs_per_minute, max_storage_bytes)
VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING RETURNING name;

-- name: get_tenant
SELECT name, suspended_at, suspend_note, weight, max_jobs, max_runs_per_minute, max_storage_bytes, storage_bytes, database
FROM tenants WHERE name = $1 FOR NO KEY UPDATE;

-- name: lock_tenant
SELECT suspended_at, database FROM tenants WHERE name = $1 FOR NO KEY UPDATE;

-- name: list_tenants
SELECT t.name, t.suspended_at, t.suspend_note, t.weight, t.max_jobs, t.max_runs_per_minute, t.max_storage_bytes,
       t.storage_bytes, t.database, t.broker,
       (SELECT count(*)::int FROM jobs AS j WHERE j.tenant = t.name AND j.deleted_at IS NULL) AS jobs
FROM tenants AS t ORDER BY t.name;

-- name: change_tenant
UPDATE tenants SET weight = $2, max_jobs = $3, max_runs_per_minute = $4, max_storage_bytes = $5, revision = revision + 1
WHERE name = $1;

-- name: suspend_tenant
UPDATE tenants SET suspended_at = now(), suspend_note = $2 WHERE name = $1 AND suspended_at IS NULL RETURNING name;

-- name: activate_tenant
UPDATE tenants SET suspended_at = NULL, suspend_note = NULL WHERE name = $1 AND suspended_at IS NOT NULL RETURNING name;

-- name: account_suspension
-- What comes back to life at $2 was held by the suspension.
UPDATE triggers SET held_as = 'tenant_suspended' WHERE tenant = $1 AND active AND held_until = $2;

-- name: count_held
-- What a tenant has under way: with executors, and what may wait.
SELECT count(*) FILTER (WHERE state IN ('queued', 'running'))::int AS out, count(*)::int AS open
FROM runs WHERE tenant = $1 AND finished_at IS NULL;

-- name: get_quota
SELECT max_jobs, max_storage_bytes, storage_bytes, max_runs_per_minute FROM tenants WHERE name = $1;

-- name: lock_starts
-- How many runs a tenant has started in this minute; whoever asks counts alone.
INSERT INTO tenant_starts (tenant, minute, runs) VALUES ($1, date_trunc('minute', now()), 0)
ON CONFLICT (tenant) DO UPDATE
SET minute = excluded.minute, runs = CASE WHEN tenant_starts.minute = excluded.minute THEN tenant_starts.runs ELSE 0 END
RETURNING runs;

-- name: count_starts
UPDATE tenant_starts SET runs = runs + $2 WHERE tenant = $1;

-- name: has_storage_quota
SELECT EXISTS (SELECT FROM tenants WHERE max_storage_bytes IS NOT NULL) AS has;

-- name: store_storage
-- Whoever crosses its quota, in either direction, is looked at anew.
UPDATE tenants AS t
SET storage_bytes = m.bytes,
    revision = revision + CASE WHEN (t.storage_bytes < t.max_storage_bytes) IS DISTINCT FROM (m.bytes < t.max_storage_bytes)
                               THEN 1 ELSE 0 END
FROM (SELECT t.name, coalesce(sum(n.bytes), 0)::bigint AS bytes
      FROM tenants AS t LEFT JOIN stored_bytes($1) AS n ON n.tenant = t.name
      WHERE t.max_storage_bytes IS NOT NULL GROUP BY t.name) AS m
WHERE t.name = m.name AND t.storage_bytes <> m.bytes;
