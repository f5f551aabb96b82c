-- name: note_answer
-- The target works.
UPDATE circuits SET failures = 0, opened_at = NULL, open_until = NULL, probe_run = NULL
WHERE tenant = $1 AND target = $2 AND (failures > 0 OR opened_at IS NOT NULL);

-- name: note_failures
-- $3 attempts more without a proper answer; $4 of them in a row open it for $5 seconds. Where one of the runs
-- $6 was to try whether it works again, it stays open for as long again.
INSERT INTO circuits AS c (tenant, target, failures, opened_at, open_until)
VALUES ($1, $2, $3::int, CASE WHEN $3::int >= $4::int THEN now() END,
        CASE WHEN $3::int >= $4::int THEN now() + $5::float8 * interval '1 second' END)
ON CONFLICT (tenant, target) DO UPDATE
SET failures = c.failures + excluded.failures,
    opened_at = coalesce(c.opened_at, CASE WHEN c.failures + excluded.failures >= $4::int THEN now() END),
    open_until = CASE WHEN c.probe_run = ANY ($6::uuid[])
                           OR (c.opened_at IS NULL AND c.failures + excluded.failures >= $4::int)
                      THEN now() + $5::float8 * interval '1 second' ELSE c.open_until END,
    probe_run = CASE WHEN c.probe_run = ANY ($6::uuid[]) THEN NULL ELSE c.probe_run END;

-- name: list_open
-- Circuits that are open; holds: nothing may start, as the time has not come, or a run is trying already.
SELECT tenant, target, opened_at, open_until, failures, probe_run,
       open_until > now() OR EXISTS (SELECT FROM runs WHERE id = probe_run AND state IN ('queued', 'running')) AS holds
FROM circuits WHERE opened_at IS NOT NULL AND ($1::text IS NULL OR (tenant = $1 AND target = $2));

-- name: take_probe
-- Of several who want to let a run try, one does.
UPDATE circuits SET probe_run = $3
WHERE tenant = $1 AND target = $2 AND opened_at IS NOT NULL AND open_until <= now()
  AND probe_run IS NOT DISTINCT FROM $4::uuid
RETURNING target;
