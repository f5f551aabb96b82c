-- name: lock_calendars
-- Every calendar of the tenant with its newest version, those deleted included.
SELECT c.name, c.version, c.source, c.deleted_at IS NOT NULL AS deleted, v.spec, v.data
FROM calendars AS c
JOIN calendar_versions AS v ON v.tenant = c.tenant AND v.name = c.name AND v.version = c.version
WHERE c.tenant = $1
ORDER BY c.name FOR NO KEY UPDATE OF c;

-- name: write_calendars
INSERT INTO calendars (tenant, name, version, source)
SELECT $1, name, version, source FROM unnest($2::text[], $3::int[], $4::text[]) AS new (name, version, source)
ON CONFLICT (tenant, name) DO UPDATE
SET version = excluded.version, source = excluded.source, deleted_at = NULL, updated_at = now();

-- name: insert_calendar_versions
-- Versions are never changed: firings name the one they were planned by.
INSERT INTO calendar_versions (tenant, name, version, spec, data, last_day)
SELECT $1, name, version, spec, data, last_day
FROM unnest($2::text[], $3::int[], $4::jsonb[], $5::jsonb[], $6::date[]) AS new (name, version, spec, data, last_day);

-- name: lock_calendar_triggers
-- Triggers of these calendars that were planned by another version. The Ticker may hold one of them:
-- its new cursor is then seen.
SELECT t.id, t.job_id, t.key, t.calendar, t.calendar_version, t.spec, t.anchor_at, t.last_at, t.next_at, t.fired, t.trouble,
       j.name AS job, v.spec ->> 'timezone' AS timezone
FROM triggers AS t
JOIN unnest($2::text[], $3::int[]) AS c (name, version) ON c.name = t.calendar
JOIN jobs AS j ON j.id = t.job_id
JOIN job_versions AS v ON v.job_id = j.id AND v.version = j.version
WHERE t.tenant = $1 AND t.removed_at IS NULL AND t.calendar_version IS DISTINCT FROM c.version
ORDER BY t.id FOR UPDATE OF t;

-- name: move_calendar_triggers
UPDATE triggers AS t
SET calendar_version = m.version, last_at = m.last_at, next_at = m.next_at, trouble = NULL
FROM unnest($1::uuid[], $2::int[], $3::timestamptz[], $4::timestamptz[]) AS m (id, version, last_at, next_at)
WHERE t.id = m.id;

-- name: list_calendar_users
SELECT t.calendar, j.name AS job, t.key AS trigger
FROM triggers AS t JOIN jobs AS j ON j.id = t.job_id
WHERE t.tenant = $1 AND t.removed_at IS NULL AND ($2::text[] IS NULL OR t.calendar = ANY ($2))
  AND t.calendar IS NOT NULL
ORDER BY 1, 2, 3;

-- name: delete_calendars
UPDATE calendars SET deleted_at = now(), updated_at = now()
WHERE tenant = $1 AND name = ANY ($2::text[]) AND deleted_at IS NULL;

-- name: list_calendars
SELECT c.name, c.version, c.source, v.spec, v.data, v.applied_at
FROM calendars AS c
JOIN calendar_versions AS v ON v.tenant = c.tenant AND v.name = c.name AND v.version = c.version
WHERE c.tenant = $1 AND c.deleted_at IS NULL AND ($2::text IS NULL OR c.name = $2)
ORDER BY c.name;

-- name: list_calendar_specs
-- Without the countries that triggers name.
SELECT c.name, v.spec FROM calendars AS c
JOIN calendar_versions AS v ON v.tenant = c.tenant AND v.name = c.name AND v.version = c.version
WHERE c.tenant = $1 AND c.deleted_at IS NULL AND c.name = lower(c.name)
ORDER BY c.name;

-- name: get_calendar_versions
SELECT v.tenant, v.name, v.version, v.data FROM calendar_versions AS v
JOIN unnest($1::text[], $2::text[], $3::int[]) AS w (tenant, name, version)
    ON v.tenant = w.tenant AND v.name = w.name AND v.version = w.version;

-- name: list_ending_calendars
-- Calendars in use whose data end by $2.
SELECT c.tenant, c.name, v.last_day
FROM calendars AS c
JOIN calendar_versions AS v ON v.tenant = c.tenant AND v.name = c.name AND v.version = c.version
WHERE c.deleted_at IS NULL AND v.last_day <= $2 AND ($1::text IS NULL OR c.tenant = $1)
ORDER BY 1, 2;
