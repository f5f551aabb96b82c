-- name: find_pausing
-- What the definition of today says counts, not that of the run.
SELECT DISTINCT j.tenant, j.id
FROM runs AS r JOIN jobs AS j ON j.id = r.job_id JOIN job_versions AS v ON v.job_id = j.id AND v.version = j.version
WHERE r.id = ANY ($1::uuid[]) AND v.spec ->> 'pause_after' IS NOT NULL AND j.paused_at IS NULL
ORDER BY j.id;

-- name: lock_tenants
SELECT name FROM tenants WHERE name = ANY ($1::text[]) ORDER BY name FOR NO KEY UPDATE;

-- name: lock_jobs
SELECT id FROM jobs WHERE id = ANY ($1::uuid[]) ORDER BY id FOR NO KEY UPDATE;

-- name: pause_failing
-- The last runs that were decided, since the job was last resumed: failed, all of them.
UPDATE jobs AS j SET paused_at = now(), updated_at = now(), pause_note = f.failed || ' failed runs in a row',
                     paused_by = $2
FROM (SELECT o.id, (v.spec ->> 'pause_after')::int AS pause_after,
             (SELECT count(*) FILTER (WHERE l.state = 'failed')
              FROM (SELECT r.state FROM runs AS r
                    WHERE r.job_id = o.id AND r.state IN ('succeeded', 'failed')
                      AND (o.resumed_at IS NULL OR r.finished_at > o.resumed_at)
                    ORDER BY r.id DESC LIMIT (v.spec ->> 'pause_after')::int) AS l) AS failed
      FROM jobs AS o JOIN job_versions AS v ON v.job_id = o.id AND v.version = o.version
      WHERE o.id = ANY ($1::uuid[]) AND o.deleted_at IS NULL) AS f
WHERE j.id = f.id AND j.paused_at IS NULL AND f.failed = f.pause_after
RETURNING j.id, j.tenant, j.name, j.paused_at, j.pause_note;
