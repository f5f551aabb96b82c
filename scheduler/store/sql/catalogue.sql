-- name: list_revisions
SELECT name, revision FROM tenants;

-- name: list_jobs
SELECT j.id, j.name, j.version, j.enabled, j.paused_at IS NOT NULL OR t.paused_at IS NOT NULL AS paused,
       t.suspended_at IS NOT NULL AS suspended
FROM jobs AS j
JOIN tenants AS t ON t.name = j.tenant
WHERE j.tenant = $1 AND j.deleted_at IS NULL;

-- name: get_quota
SELECT max_runs_per_minute, max_storage_bytes, storage_bytes FROM tenants WHERE name = $1;

-- name: put_off_firings
-- What cannot be decided by this program waits, with the reason, for one that can or for a better definition.
UPDATE firings AS f SET sweep_at = now() + interval '30 seconds', reason = off.why
FROM unnest($1::uuid[], $2::text[]) AS off (id, why) WHERE f.id = off.id AND f.verdict IS NULL;

-- name: get_versions
SELECT v.job_id, v.version, v.spec::text FROM job_versions AS v
JOIN unnest($1::uuid[], $2::int[]) AS w (job_id, version) ON v.job_id = w.job_id AND v.version = w.version;
