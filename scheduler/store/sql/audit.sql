-- name: record_changes
INSERT INTO audit (tenant, actor, address, request_id, action, kind, name, before, after)
SELECT $1, $2, $3, $4, action, kind, name, before::jsonb, after::jsonb
FROM unnest($5::text[], $6::text[], $7::text[], $8::text[], $9::text[]) AS new (action, kind, name, before, after);

-- name: record_denial
INSERT INTO audit (tenant, actor, address, request_id, action, kind, name, after, result, count)
VALUES ($1, $2, $3, $4, 'access', 'operation', $5, $6, 'denied', $7);

-- name: list_audit
SELECT id, at, tenant, actor, action, kind, name, before, after, result, count, address, request_id
FROM audit
WHERE tenant = $1
  AND ($2::uuid IS NULL OR id < $2)
  AND ($3::text IS NULL OR actor LIKE $3)
  AND ($4::text IS NULL OR action = $4)
  AND ($5::text IS NULL OR kind = $5)
  AND ($6::text IS NULL OR name = $6)
  AND ($7::text IS NULL OR result = $7)
  AND ($8::timestamptz IS NULL OR at >= $8)
  AND ($9::timestamptz IS NULL OR at < $9)
ORDER BY id DESC LIMIT $10;
