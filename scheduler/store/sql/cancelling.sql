-- name: list_cancellable
-- Runs that are not over. $2 job, $3 flow, $4 states, $5 pool, $6 made since.
SELECT id FROM runs
WHERE tenant = $1 AND finished_at IS NULL
  AND ($2::text IS NULL OR job_id = (SELECT id FROM jobs WHERE tenant = $1 AND name = $2))
  AND ($3::uuid IS NULL OR id = ANY (ARRAY(SELECT id FROM runs WHERE id = $3
                                           UNION SELECT id FROM runs WHERE flow_id = $3 AND flow_id <> id)))
  AND ($4::text[] IS NULL OR state = ANY ($4))
  AND ($5::text IS NULL OR pool = $5)
  AND ($6::timestamptz IS NULL OR created_at >= $6)
ORDER BY id;

-- name: lock_cancellable
-- Those of them that are still not over; nobody moves them meanwhile.
SELECT id, job_name, state FROM runs
WHERE tenant = $1 AND id = ANY ($2::uuid[]) AND finished_at IS NULL ORDER BY id FOR NO KEY UPDATE;

-- name: ring_cancels
SELECT pg_notify($1, $2 || ' ' || id) FROM unnest($3::uuid[]) AS asked (id);
