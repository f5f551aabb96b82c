-- name: list_file_triggers
-- All of them, also those that do not fire now.
SELECT t.id, t.tenant, j.name AS job, t.key, t.spec, t.anchor_at,
       t.enabled AND j.enabled AND j.deleted_at IS NULL AS enabled
FROM triggers AS t JOIN jobs AS j ON j.id = t.job_id
WHERE t.kind NOT IN ('cron', 'every', 'at', 'calendar') AND t.removed_at IS NULL AND t.kind = 'file'
ORDER BY t.id;

-- name: take_watches
-- Take those that nobody holds, and keep those that are held. One that looks at something else than before, or has
-- rested, begins anew, with what is there at this moment. Sorted: two Watchers cannot wait for one another.
INSERT INTO watches AS w (trigger_id, tenant, basis, since, owner, host, leased_until)
SELECT id, tenant, basis, anchor_at, $1, $2, now() + $3::float8 * interval '1 second'
FROM unnest($4::uuid[], $5::text[], $6::text[], $7::timestamptz[]) AS wanted (id, tenant, basis, anchor_at)
ORDER BY id
ON CONFLICT (trigger_id) DO UPDATE
SET owner = excluded.owner, host = excluded.host, leased_until = excluded.leased_until, basis = excluded.basis,
    holds = w.holds + (w.owner IS DISTINCT FROM excluded.owner OR w.basis <> excluded.basis)::int,
    since = CASE WHEN w.basis <> excluded.basis THEN now() ELSE coalesce(w.since, now()) END,
    based_at = CASE WHEN w.basis = excluded.basis THEN w.based_at END
WHERE w.owner = excluded.owner OR w.owner IS NULL OR w.leased_until <= now()
RETURNING trigger_id, holds;

-- name: rest_watches
-- Of triggers that do not fire now: what comes meanwhile is no news when they do again.
UPDATE watches SET since = NULL, based_at = NULL, owner = NULL WHERE trigger_id = ANY ($1::uuid[]) AND since IS NOT NULL;

-- name: leave_watches
UPDATE watches SET owner = NULL WHERE owner = $1 AND trigger_id = ANY ($2::uuid[]);

-- name: forget_watches
-- Of triggers that are gone.
DELETE FROM watches AS w
WHERE NOT EXISTS (SELECT FROM triggers AS t WHERE t.id = w.trigger_id AND t.removed_at IS NULL AND t.kind = 'file');

-- name: say_trouble
-- Not of a watch that another Watcher works: the folder may be there for one and not for another.
INSERT INTO watches AS w (trigger_id, tenant, basis, since, leased_until, trouble) VALUES ($1, $2, $3, $4, now(), $5)
ON CONFLICT (trigger_id) DO UPDATE SET trouble = excluded.trouble
WHERE w.trouble IS DISTINCT FROM excluded.trouble AND (w.owner IS NULL OR w.owner = $6);

-- name: hold_watch
-- Within a transaction: as long as it goes on, nobody else can take the watch.
SELECT true FROM watches WHERE trigger_id = $1 AND owner = $2 AND holds = $3 AND leased_until > now() FOR NO KEY UPDATE;

-- name: list_files
SELECT path, size, mtime_ns, inode, born_ns FROM watched_files WHERE trigger_id = $1 AND path > $2
ORDER BY path LIMIT $3;

-- name: write_files
INSERT INTO watched_files (trigger_id, tenant, path, size, mtime_ns, inode, born_ns)
SELECT $1, $2, path, size, mtime_ns, inode, born_ns
FROM unnest($3::bytea[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[])
     AS f (path, size, mtime_ns, inode, born_ns)
ON CONFLICT (trigger_id, path) DO UPDATE
SET size = excluded.size, mtime_ns = excluded.mtime_ns, inode = excluded.inode, born_ns = excluded.born_ns;

-- name: delete_files
DELETE FROM watched_files WHERE trigger_id = $1 AND path = ANY ($2::bytea[]);

-- name: delete_all_files
DELETE FROM watched_files WHERE trigger_id = $1;

-- name: find_base
SELECT based_at IS NOT NULL AS based, since FROM watches
WHERE trigger_id = $1 AND owner = $2 AND holds = $3 AND leased_until > now();

-- name: base_watch
UPDATE watches SET based_at = now() WHERE trigger_id = $1 AND based_at IS NULL RETURNING true;

-- name: list_troubles
-- Of file triggers that fire: why their folder cannot be looked at, or that nobody does.
SELECT j.name AS job, t.key AS trigger, w.trouble
FROM triggers AS t JOIN jobs AS j ON j.id = t.job_id LEFT JOIN watches AS w ON w.trigger_id = t.id
WHERE t.tenant = $1 AND t.kind NOT IN ('cron', 'every', 'at', 'calendar') AND t.removed_at IS NULL AND t.kind = 'file'
  AND t.enabled AND j.enabled AND j.deleted_at IS NULL
  AND (w.trouble IS NOT NULL OR w.owner IS NULL OR w.leased_until <= now())
ORDER BY j.name, t.key;
