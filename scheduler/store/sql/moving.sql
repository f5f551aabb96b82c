-- name: list_tables
-- Tables with rows of tenants, and their columns.
SELECT c.relname AS name,
       array(SELECT a.attname::text FROM pg_attribute AS a
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
             ORDER BY a.attnum) AS columns
FROM pg_class AS c
WHERE c.relnamespace = 'scheduler'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND NOT c.relname = ANY ($1::text[])
  AND EXISTS (SELECT FROM pg_attribute AS a
              WHERE a.attrelid = c.oid AND a.attname = 'tenant' AND NOT a.attisdropped);

-- name: list_days
-- Partitions of history that rows of a tenant are in.
SELECT h.class, h.day, f.runs, f.last_id, h.kept_until FROM history_days AS h
CROSS JOIN LATERAL (SELECT count(*) AS runs, (array_agg(r.id ORDER BY r.id DESC))[1] AS last_id FROM past_runs AS r
                    WHERE r.class = h.class AND r.id >= first_id(h.day) AND r.id < first_id(h.day + 1) AND r.tenant = $1) AS f
WHERE h.dropped_at IS NULL AND f.runs > 0;

-- name: make_day
SELECT make_history_day($1, $2);

-- name: note_day
UPDATE history_days
SET runs = runs + $3, last_id = CASE WHEN last_id > $4 THEN last_id ELSE $4 END, kept_until = greatest(kept_until, $5)
WHERE class = $1 AND day = $2;

-- name: list_references
SELECT f.relname AS from_table, t.relname AS to_table
FROM pg_constraint AS r JOIN pg_class AS f ON f.oid = r.conrelid JOIN pg_class AS t ON t.oid = r.confrelid
WHERE r.contype = 'f' AND r.connamespace = 'scheduler'::regnamespace;

-- name: insert_suspended
INSERT INTO tenants (name, weight, max_jobs, max_runs_per_minute, max_storage_bytes, suspended_at, suspend_note)
VALUES ($1, $2, $3, $4, $5, now(), 'is being moved')
ON CONFLICT (name) DO UPDATE
SET weight = excluded.weight, max_jobs = excluded.max_jobs, max_runs_per_minute = excluded.max_runs_per_minute,
    max_storage_bytes = excluded.max_storage_bytes, suspended_at = now(), suspend_note = excluded.suspend_note;

-- name: register
UPDATE tenants SET database = $2, suspended_at = NULL, suspend_note = NULL, revision = revision + 1 WHERE name = $1;
