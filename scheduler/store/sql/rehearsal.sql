-- name: list_standing
-- Every job of the tenant as it stands.
SELECT j.name, j.enabled, j.paused_at IS NOT NULL AS paused, v.spec
FROM jobs AS j JOIN job_versions AS v ON v.job_id = j.id AND v.version = j.version
WHERE j.tenant = $1 AND j.deleted_at IS NULL ORDER BY j.name;

-- name: list_anchors
SELECT j.name, t.key, t.anchor_at, t.fired FROM triggers AS t JOIN jobs AS j ON j.id = t.job_id
WHERE j.tenant = $1 AND j.deleted_at IS NULL AND t.removed_at IS NULL;
