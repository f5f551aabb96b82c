-- name: insert_key
INSERT INTO api_keys (id, tenant, name, role, digest, expires_at) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT ON CONSTRAINT api_keys_name_is_unique DO NOTHING RETURNING id;

-- name: list_keys
SELECT id, name, role, created_at, expires_at, revoked_at, last_used_at FROM api_keys WHERE tenant = $1 ORDER BY id;

-- name: revoke_key
UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE tenant = $1 AND (name = $2 OR id::text = $2)
RETURNING name;

-- name: use_key
SELECT id, tenant, name, role FROM use_api_key($1);
