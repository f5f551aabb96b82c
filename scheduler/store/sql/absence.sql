-- name: record_absences
-- One for each time at which something is looked for. It is decided two seconds later: what came in the last
-- moment is written down by then.
INSERT INTO events (id, tenant, source, topic, data, for_triggers, occurred_at, sweep_at)
SELECT new.id, new.tenant, 'absence', 'absence.' || j.name, new.data::jsonb, ARRAY[new.trigger_id], new.at,
       greatest(now(), new.at) + interval '2 seconds'
FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::uuid[], $5::timestamptz[], $6::text[])
     AS new (id, tenant, trigger_id, job_id, at, data)
JOIN jobs AS j ON j.id = new.job_id;

-- name: find_event
-- The last event from outside with such a topic that came in (since, until].
SELECT id, topic, received_at FROM events
WHERE tenant = $1 AND id >= $2 AND received_at > $3 AND received_at <= $4 AND '.' || topic ~ $5
  AND source IN ('amqp', 'cli', 'api', 'webhook', 'file') AND verdict IS DISTINCT FROM 'invalid'
ORDER BY id DESC LIMIT 1;

-- name: find_end
-- The last run of these jobs that ended so in (since, until].
SELECT id, job_name, state, finished_at FROM runs
WHERE job_id = ANY ($1::uuid[]) AND id >= $2 AND finished_at > $3 AND finished_at <= $4
  AND ($5 = 'finished' OR state = $5)
ORDER BY finished_at DESC LIMIT 1;
