-- name: list_homes
SELECT name, database, broker FROM all_databases() ORDER BY name;

-- name: find_database
SELECT database FROM tenants WHERE name = $1;

-- name: register_home
UPDATE tenants SET database = $2, broker = $3 WHERE name = $1 RETURNING name;

-- name: list_pools
SELECT name, queue_limit, paused_at FROM pools ORDER BY name;

-- name: write_pools
INSERT INTO pools (name, queue_limit, paused_at) SELECT * FROM unnest($1::text[], $2::int[], $3::timestamptz[])
ON CONFLICT (name) DO UPDATE SET queue_limit = excluded.queue_limit, paused_at = excluded.paused_at
WHERE (pools.queue_limit, pools.paused_at) IS DISTINCT FROM (excluded.queue_limit, excluded.paused_at);
