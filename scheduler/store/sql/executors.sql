-- name: wish_drain
-- Live executors of that name are to take nothing new; those that already are stay as they are.
UPDATE executors SET drain_at = coalesce(drain_at, now()), held = 'somebody drains it'
WHERE name = $1 AND stopped_at IS NULL AND seen_at > now() - $2::float8 * interval '1 second'
RETURNING boot_id;

-- name: withdraw_drain
UPDATE executors SET drain_at = NULL, held = NULL
WHERE name = $1 AND stopped_at IS NULL AND seen_at > now() - $2::float8 * interval '1 second'
RETURNING boot_id;

-- name: find_impossible
-- Jobs that no executor of their pool can run, though some live there.
SELECT name, missing_executor(pool, spec::jsonb, $4) AS why
FROM unnest($1::text[], $2::text[], $3::text[]) AS j (name, pool, spec)
WHERE EXISTS (SELECT FROM executors AS e
              WHERE e.pool = j.pool AND stopped_at IS NULL AND held IS NULL AND NOT draining
                AND seen_at > now() - $4::float8 * interval '1 second')
ORDER BY name;

-- name: get_drained
-- How far executors are that were told to take nothing new: whether all have heard of it or are gone, and
-- how many attempts are theirs by the rows.
SELECT bool_and(draining OR stopped_at IS NOT NULL OR seen_at < now() - $2::float8 * interval '1 second') AS heard,
       (SELECT count(*)::int FROM runs WHERE state = 'running' AND sweep_at IS NOT NULL AND boot_id = ANY ($1::uuid[]))
           AS running
FROM executors WHERE boot_id = ANY ($1::uuid[]);
