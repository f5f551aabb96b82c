-- name: take_key
-- The lock is let go when the request ends, however it ends: nothing is ever left in flight.
SELECT pg_try_advisory_xact_lock(hashtextextended($1 || ' ' || $2, 0)) AS taken;

-- name: find_answer
SELECT digest, status, headers, body FROM idempotency_keys
WHERE tenant = $1 AND key = $2 AND created_at > now() - interval '24 hours';

-- name: keep_answer
INSERT INTO idempotency_keys (tenant, key, digest, status, headers, body) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (tenant, key) DO UPDATE
SET digest = excluded.digest, status = excluded.status, headers = excluded.headers, body = excluded.body,
    created_at = now();

-- name: forget_answers
DELETE FROM idempotency_keys WHERE (tenant, key) IN (
    SELECT tenant, key FROM idempotency_keys
    WHERE tenant = $1 AND created_at < now() - interval '24 hours' ORDER BY created_at LIMIT 100 FOR UPDATE SKIP LOCKED);

-- name: cursor_secret
SELECT secret FROM cursor_secret;
