-- name: lock_webhooks
SELECT name, spec, source FROM webhooks WHERE tenant = $1 ORDER BY name FOR NO KEY UPDATE;

-- name: write_webhooks
INSERT INTO webhooks (tenant, name, spec, source)
SELECT $1, name, spec, $2 FROM unnest($3::text[], $4::jsonb[]) AS new (name, spec)
ON CONFLICT (tenant, name) DO UPDATE SET spec = excluded.spec, source = excluded.source, updated_at = now();

-- name: delete_webhooks
DELETE FROM webhooks WHERE tenant = $1 AND name = ANY ($2::text[]);

-- name: list_webhook_users
-- Triggers that wait for one of these, or a part of which does.
SELECT w.webhook, j.name AS job, t.key AS trigger
FROM triggers AS t JOIN jobs AS j ON j.id = t.job_id
CROSS JOIN LATERAL (
    SELECT t.spec ->> 'webhook' AS webhook
    UNION SELECT part ->> 'webhook' FROM jsonb_array_elements(coalesce(t.spec -> 'all_of', t.spec -> 'any_of')) AS part
) AS w
WHERE t.tenant = $1 AND t.kind NOT IN ('cron', 'every', 'at', 'calendar') AND t.removed_at IS NULL
  AND w.webhook = ANY ($2::text[])
ORDER BY 1, 2, 3;

-- name: list_webhooks
SELECT name, spec, source FROM webhooks WHERE tenant = $1 ORDER BY name;

-- name: list_all_webhooks
SELECT tenant, name, spec FROM all_webhooks() ORDER BY tenant, name;
