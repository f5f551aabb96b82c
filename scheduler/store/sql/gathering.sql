-- name: lock_triggers
-- Who gathers events of a trigger holds it: what it has gathered is counted by nobody else meanwhile.
SELECT id FROM triggers WHERE id = ANY ($1::uuid[]) ORDER BY id FOR NO KEY UPDATE;

-- name: list_passed
-- When firings of these triggers and keys were let pass, since each of these instants.
SELECT f.trigger_id, f.hold_key, f.fires_at
FROM unnest($1::uuid[], $2::text[], $3::timestamptz[]) AS g (trigger_id, hold_key, since)
JOIN firings AS f ON f.trigger_id = g.trigger_id AND f.hold_key = g.hold_key AND f.fires_at > g.since
WHERE f.verdict IS NULL OR f.verdict <> 'debounced';

-- name: list_held
-- Firings of these triggers and keys that wait whether another event comes.
SELECT f.id, f.trigger_id, f.hold_key
FROM unnest($1::uuid[], $2::text[]) AS g (trigger_id, hold_key)
JOIN firings AS f ON f.trigger_id = g.trigger_id AND f.hold_key = g.hold_key
WHERE f.verdict IS NULL AND f.sweep_at > now();

-- name: find_open
-- Gathered events that still take up others. One that another Dispatcher holds is being decided: it is closed.
SELECT e.id, e.for_triggers[1] AS trigger_id, e.subject AS key, e.data
FROM unnest($1::uuid[], $2::text[]) AS g (trigger_id, key)
JOIN events AS e ON e.for_triggers = ARRAY[g.trigger_id] AND e.subject = g.key
WHERE e.verdict IS NULL AND e.source = 'gathered' AND e.sweep_at > now()
FOR UPDATE OF e SKIP LOCKED;

-- name: write_open
-- wait_s: it is decided so many seconds from now; null: when it was to be.
INSERT INTO events AS e (id, tenant, source, topic, subject, data, for_triggers, sweep_at)
SELECT id, tenant, 'gathered', topic, key, data::jsonb, ARRAY[trigger_id], now() + wait_s * interval '1 second'
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::uuid[], $7::float8[])
     AS new (id, tenant, topic, key, data, trigger_id, wait_s)
ON CONFLICT (id) DO UPDATE SET data = excluded.data, sweep_at = excluded.sweep_at;

-- name: keep_open
UPDATE events AS e SET data = new.data::jsonb
FROM unnest($1::uuid[], $2::text[]) AS new (id, data) WHERE e.id = new.id AND e.verdict IS NULL;

-- name: get_events
SELECT id, source, topic, subject, headers, data, for_triggers, depth, occurred_at, received_at
FROM events WHERE id = ANY ($1::uuid[]);

-- name: fill_gathered
UPDATE events AS e SET data = new.data::jsonb, depth = new.depth
FROM unnest($1::uuid[], $2::text[], $3::int[]) AS new (id, data, depth) WHERE e.id = new.id;
