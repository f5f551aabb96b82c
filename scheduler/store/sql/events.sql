-- name: take_keys
-- Each key belongs to the event that brought it first, until it expires. Sorted: two writers cannot
-- wait for one another. No two rows have the same key: the caller has folded them.
INSERT INTO event_keys AS k (tenant, source, key, event_id, expires_at)
SELECT tenant, source, key, event_id, now() + kept_s * interval '1 second'
FROM unnest($1::text[], $2::text[], $3::text[], $4::uuid[], $5::float8[]) AS given (tenant, source, key, event_id, kept_s)
ORDER BY tenant, source, key COLLATE "C"
ON CONFLICT (tenant, source, key) DO UPDATE
SET event_id = CASE WHEN k.expires_at <= now() THEN excluded.event_id ELSE k.event_id END,
    expires_at = CASE WHEN k.expires_at <= now() THEN excluded.expires_at ELSE k.expires_at END
RETURNING tenant, source, key, event_id;

-- name: record_events
-- hinted: a Dispatcher is told of them by message; the sweep looks only when that may be lost.
INSERT INTO events (id, tenant, source, topic, sender_id, subject, headers, data, for_triggers, depth, occurred_at,
                    verdict, reason, decided_at, sweep_at)
SELECT id, tenant, source, topic, sender_id, subject, headers::jsonb, data::jsonb,
       (SELECT array_agg(t::uuid) FROM jsonb_array_elements_text(for_triggers::jsonb) AS t), depth, occurred_at,
       CASE WHEN problem IS NOT NULL THEN 'invalid' END, problem, CASE WHEN problem IS NOT NULL THEN now() END,
       CASE WHEN problem IS NULL THEN now() + CASE WHEN $13 THEN interval '5 seconds' ELSE interval '0' END END
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
            $10::int[], $11::timestamptz[], $12::text[])
     AS new (id, tenant, source, topic, sender_id, subject, headers, data, for_triggers, depth, occurred_at, problem)
ON CONFLICT (id) DO NOTHING
RETURNING id;

-- name: find_contents
-- Events without an id of their own that had this content, by the start of their keys.
SELECT event_id FROM event_keys
WHERE tenant = $1 AND source = $2 AND key >= $3 || ':' AND key < $3 || ';' AND expires_at > now() ORDER BY event_id;

-- name: list_tenants
SELECT name, database, broker FROM tenants WHERE name = ANY ($1::text[]);

-- name: forget_keys
DELETE FROM event_keys WHERE (tenant, source, key) IN (
    SELECT tenant, source, key FROM event_keys WHERE expires_at <= now() ORDER BY expires_at LIMIT $1
    FOR UPDATE SKIP LOCKED);

-- name: lock_undecided
-- Events that wait for their verdict. A row another Dispatcher holds is being decided there.
SELECT e.id, e.tenant, e.source, e.topic, e.subject, e.headers, e.data, e.for_triggers, e.depth, e.occurred_at,
       e.received_at, coalesce(t.revision, 0) AS revision
FROM events AS e LEFT JOIN tenants AS t ON t.name = e.tenant
WHERE e.id = ANY ($1::uuid[]) AND CASE WHEN e.verdict IS NULL THEN e.source <> 'gathered' OR e.sweep_at <= now() ELSE false END
ORDER BY e.id FOR UPDATE OF e SKIP LOCKED;

-- name: find_undecided
SELECT id FROM events WHERE verdict IS NULL AND sweep_at <= now() ORDER BY sweep_at LIMIT $1;

-- name: postpone_event
-- The pause is the age: it doubles from look to look without a counter.
UPDATE events SET sweep_at = now() + least(greatest(now() - received_at, interval '5 seconds'), interval '1 hour')
WHERE id = $1 AND verdict IS NULL;

-- name: list_triggers
-- Those of a tenant that wait for events.
SELECT t.id, t.job_id, t.job_version, t.key, t.spec FROM triggers AS t
WHERE t.tenant = $1 AND t.kind NOT IN ('cron', 'every', 'at', 'calendar') AND t.removed_at IS NULL AND t.enabled
ORDER BY t.id;

-- name: count_fires
-- Triggers with max_fires: who fires one holds it until that is counted.
SELECT id, fired FROM triggers WHERE id = ANY ($1::uuid[]) ORDER BY id FOR NO KEY UPDATE;

-- name: add_fires
UPDATE triggers AS t SET fired = t.fired + f.count FROM unnest($1::uuid[], $2::int[]) AS f (id, count) WHERE t.id = f.id;

-- name: record_firings
-- One for each trigger that an event fires; with a verdict where no run is made of it. One that is held comes
-- hold_s seconds later, unless another one of its key comes before.
WITH recorded AS (
    INSERT INTO firings (id, tenant, kind, trigger_id, event_id, job_id, job_version, fires_at, wall_time, zone, params,
                         verdict, reason, traceparent, hold_key, decided_at, sweep_at)
    SELECT id, tenant, 'event', trigger_id, event_id, job_id, job_version, fires_at, event_id::text, 'UTC', params::jsonb,
           verdict, reason, traceparent, hold_key, CASE WHEN verdict IS NOT NULL THEN now() END,
           CASE WHEN verdict IS NULL THEN now() + coalesce(hold_s, 5) * interval '1 second' END
    FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::uuid[], $5::uuid[], $6::int[], $7::timestamptz[], $8::text[],
                $9::text[], $10::text[], $11::text[], $12::text[], $13::float8[])
         AS f (id, tenant, trigger_id, event_id, job_id, job_version, fires_at, params, verdict, reason, traceparent,
               hold_key, hold_s)
    ON CONFLICT (event_id, job_id, trigger_id) WHERE event_id IS NOT NULL DO NOTHING
    RETURNING id, tenant, job_id, verdict
)
INSERT INTO feed (tenant, fact, ids, job_ids)
SELECT tenant, 'firing.' || verdict, array_agg(id), array_agg(job_id) FROM recorded WHERE verdict IS NOT NULL
GROUP BY tenant, verdict;

-- name: decide_events
UPDATE events AS e SET verdict = d.verdict, reason = d.reason, decided_at = now(), sweep_at = NULL
FROM unnest($1::uuid[], $2::text[], $3::text[]) AS d (id, verdict, reason)
WHERE e.id = d.id AND e.verdict IS NULL;

-- name: list_events
-- Newest first; after is the id of the last event of the page before. Ids do not tell: those of webhooks are made of
-- what their senders call them.
SELECT id, source, topic, sender_id, subject, received_at, verdict, reason FROM events
WHERE tenant = $1 AND ($3::text IS NULL OR source = $3)
  AND ($2::uuid IS NULL OR (received_at, id) < (SELECT e.received_at, e.id FROM events AS e WHERE e.id = $2))
  AND ($4::text IS NULL OR coalesce(verdict, 'undecided') = $4) AND ($5::text IS NULL OR '.' || topic ~ $5)
  AND ($6::timestamptz IS NULL OR received_at >= $6)
ORDER BY received_at DESC, id DESC LIMIT $7;

-- name: get_event
SELECT id, source, topic, sender_id, subject, headers, data, depth, occurred_at, received_at, verdict, reason, decided_at
FROM events WHERE tenant = $1 AND id = $2;

-- name: list_event_firings
SELECT f.event_id, f.id, j.name AS job, t.key AS trigger, f.verdict, f.reason, f.run_id
FROM firings AS f JOIN jobs AS j ON j.id = f.job_id LEFT JOIN triggers AS t ON t.id = f.trigger_id
WHERE f.event_id = ANY ($1::uuid[]) ORDER BY f.event_id, j.name, t.key;

-- name: find_events_of_runs
-- What started the flows of these runs, where an event has; of a run that repeats another, what started that.
WITH RECURSIVE origins (id, flow_id, depth) AS (
    SELECT id, flow_id, 0 FROM runs WHERE id = ANY ($1::uuid[])
    UNION ALL
    SELECT o.id, before.flow_id, o.depth + 1
    FROM origins AS o JOIN flows AS w ON w.id = o.flow_id JOIN firings AS f ON f.id = w.firing_id
    JOIN runs AS before ON before.id = f.retry_of
    WHERE o.depth < 100
)
SELECT o.id AS run_id, e.id, e.source, e.topic, e.subject, e.headers, e.data, e.for_triggers, e.occurred_at, e.received_at,
       e.depth
FROM origins AS o JOIN flows AS w ON w.id = o.flow_id
JOIN firings AS f ON f.id = w.firing_id AND f.kind = 'event'
JOIN events AS e ON e.id = f.event_id;
