-- name: revoke
-- Said again it holds for what was issued meanwhile too.
INSERT INTO revoked_tokens (kind, value) VALUES ($1, $2)
ON CONFLICT (kind, value) DO UPDATE SET revoked_at = now();

-- name: forget_revoked
DELETE FROM revoked_tokens WHERE revoked_at < now() - $1::interval;

-- name: list_revoked
SELECT kind, value, revoked_at FROM revoked_tokens ORDER BY revoked_at DESC, kind, value;

-- name: is_revoked
-- $3: when the token was issued, at the earliest.
SELECT EXISTS (SELECT FROM revoked_tokens WHERE kind = 'id' AND value = $1)
    OR EXISTS (SELECT FROM revoked_tokens WHERE kind = 'subject' AND value = $2 AND revoked_at >= $3);
