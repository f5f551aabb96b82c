-- name: lock_pool
-- The statements that follow keep their plans: to plan offer_runs anew takes three times as long as it runs,
-- and PostgreSQL would, since it cannot know how small a LIMIT is.
SELECT queue_limit, set_config('plan_cache_mode', 'force_generic_plan', true)
FROM pools WHERE name = $1 AND paused_at IS NULL FOR NO KEY UPDATE;

-- name: list_backlogs
SELECT name AS pool FROM pools AS p
WHERE paused_at IS NULL
  AND (EXISTS (SELECT FROM runs WHERE pool = p.name AND state = 'ready' AND limit_key IS NULL)
       OR EXISTS (SELECT FROM runs WHERE pool = p.name AND state = 'ready' AND limit_key IS NOT NULL));

-- name: pool_strength
-- What stands ready in a pool: slots of live executors, offers in the queue, and what some live executor
-- lacks, so that an offer might land where it cannot run: the sandbox, and which of the handlers
-- and labels $3. Of the sizes $4 to $6 those that no live executor has: from one that is too small it comes back.
WITH alive AS MATERIALIZED (
    SELECT slots, handlers || labels AS has, sandboxes, cpu, memory_bytes, disk_bytes FROM executors
    WHERE pool = $1 AND stopped_at IS NULL AND held IS NULL AND NOT draining
      AND seen_at > now() - $2::float8 * interval '1 second')
SELECT coalesce(sum(slots), 0)::int AS slots, count(*)::int AS executors, NOT bool_and(sandboxes) AS no_sandbox,
       (SELECT count(*)::int FROM runs WHERE pool = $1 AND state = 'queued') AS queued,
       EXISTS (SELECT FROM runs WHERE pool = $1 AND state = 'ready' AND limit_key IS NULL) AS backlog,
       EXISTS (SELECT FROM runs WHERE pool = $1 AND state = 'ready' AND limit_key IS NOT NULL) AS limited,
       ARRAY (SELECT name FROM unnest($3::text[]) AS wanted (name)
              WHERE EXISTS (SELECT FROM alive WHERE NOT wanted.name = ANY (has))) AS gaps,
       ARRAY (SELECT place::int FROM unnest($4::float8[], $5::int8[], $6::int8[]) WITH ORDINALITY
                                     AS wanted (cores, memory, disk, place)
              WHERE NOT EXISTS (SELECT FROM alive WHERE coalesce(cpu >= cores, true) AND coalesce(memory_bytes >= memory, true)
                                AND coalesce(disk_bytes >= disk, true))) AS too_large
FROM alive;

-- name: offer_runs
-- Take from a pool's backlog: the most urgent class first; in a class the tenants take turns, and of a
-- tenant the priorities that ageing has brought there. Nobody remembers whose turn it was: who is first
-- is drawn anew each time. In a round each tenant has as many turns as its weight says: the first is where
-- the first of so many random ones would be, so that who is first is as likely as it is heavy, and the
-- others are spread over what is left of the round, each where it would be on average. Of a suspended tenant nothing is taken.
-- $5: runs that share a limit and are within it. The caller holds the pool's row.
WITH RECURSIVE sharers (name) AS (
    SELECT min(tenant) FROM runs WHERE pool = $1 AND state = 'ready' AND limit_key IS NULL
    UNION ALL
    SELECT (SELECT min(tenant) FROM runs
            WHERE pool = $1 AND state = 'ready' AND limit_key IS NULL AND tenant > t.name)
    FROM sharers AS t WHERE t.name IS NOT NULL
), heads AS (
    SELECT h.*, share.weight FROM sharers AS t CROSS JOIN generate_series(0, 4) AS p (priority)
    CROSS JOIN LATERAL (SELECT weight FROM tenants WHERE name = t.name AND suspended_at IS NULL) AS share
    CROSS JOIN LATERAL (SELECT id, tenant, runs.priority, ready_at FROM runs
                        WHERE pool = $1 AND tenant = t.name AND runs.priority = p.priority
                          AND state = 'ready' AND limit_key IS NULL AND NOT job_id = ANY ($3::uuid[])
                        ORDER BY ready_at, id LIMIT $2) AS h
    WHERE t.name IS NOT NULL
    UNION ALL
    SELECT id, tenant, priority, ready_at, (SELECT weight FROM tenants WHERE name = runs.tenant)
    FROM runs WHERE id = ANY ($5::uuid[])
), ranked AS (
    SELECT id, tenant, weight, urgency(priority, ready_at) AS class, random() AS draw,
           row_number() OVER (PARTITION BY tenant, priority ORDER BY ready_at, id) AS rank
    FROM heads
), lined AS (
    SELECT id, class, weight, row_number() OVER line - 1 AS place, first_value(draw) OVER line AS draw
    FROM ranked WINDOW line AS (PARTITION BY tenant, class ORDER BY rank, draw)
), chosen AS MATERIALIZED (
    SELECT id FROM lined
    ORDER BY class, place / weight,
             CASE WHEN weight = 1 THEN draw
                  WHEN place % weight = 0 THEN 1 - draw ^ (1.0 / weight)
                  ELSE 1 - draw ^ (1.0 / weight) * (1 - (place % weight - 0.5 + random()) / weight) END
    LIMIT $2
)
UPDATE runs SET state = 'queued', queued_at = now(), lease_token = gen_random_uuid(), intent = intent + 1,
                sweep_at = least(now() + $4::float8 * interval '1 second', queue_until)
WHERE id IN (SELECT id FROM runs WHERE id = ANY (ARRAY(SELECT id FROM chosen))
             AND CASE state WHEN 'ready' THEN true ELSE false END ORDER BY id FOR UPDATE)
RETURNING id, tenant, job_id, job_version, job_name, flow_id, fired_at, attempt, lease_token, pool, params,
          needs_met, queue_until, intent, losses, traceparent;

-- name: list_results
SELECT e.run_id, u.job_name, u.result FROM run_edges AS e JOIN runs AS u ON u.id = e.upstream_run_id
WHERE e.run_id = ANY ($1::uuid[]) AND CASE WHEN u.result IS NULL THEN false ELSE true END;

-- name: withdraw_offers
-- The broker refused them, or nobody knows: back to the backlog. The old token is void, so a
-- message that was stored after all is denied.
UPDATE runs SET state = 'ready', lease_token = NULL, sweep_at = queue_until
FROM unnest($1::uuid[], $2::uuid[]) AS o (id, lease_token)
WHERE runs.id = o.id AND runs.lease_token = o.lease_token AND CASE runs.state WHEN 'queued' THEN true ELSE false END;

-- name: give_up_runs
-- The work order of these runs cannot be made.
WITH moved AS (
    UPDATE runs SET state = 'failed', outcome = 'failed', reason = o.reason, finished_at = now(),
                    sweep_at = CASE WHEN has_downstream THEN now() END
    FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS o (id, lease_token, reason)
    WHERE runs.id = o.id AND runs.lease_token = o.lease_token AND CASE runs.state WHEN 'queued' THEN true ELSE false END
    RETURNING runs.id, runs.tenant, runs.job_id
)
INSERT INTO feed (tenant, fact, ids, job_ids)
SELECT tenant, 'run.failed', array_agg(id), array_agg(job_id) FROM moved GROUP BY tenant;

-- name: find_unclaimed
-- Pools with offers that nobody has claimed for a while.
SELECT pool, (SELECT count(*)::int FROM runs AS q WHERE q.pool = r.pool AND q.state = 'queued') AS queued
FROM runs AS r WHERE state = 'queued' AND sweep_at <= now() GROUP BY pool;

-- name: postpone_unclaimed
-- The queue holds as many messages as there are offers: they are there, the slots are not.
UPDATE runs SET sweep_at = least(now() + $2::float8 * interval '1 second', queue_until)
WHERE pool = $1 AND state = 'queued' AND sweep_at <= now();

-- name: repeat_offers
-- Say unclaimed offers again: same attempt, same token; a claim decides whichever copy is taken.
UPDATE runs SET intent = intent + 1, sweep_at = least(now() + $2::float8 * interval '1 second', queue_until)
WHERE id IN (SELECT id FROM runs WHERE pool = $1 AND state = 'queued' AND sweep_at <= now()
             ORDER BY sweep_at LIMIT $3 FOR UPDATE SKIP LOCKED)
RETURNING id, tenant, job_id, job_version, job_name, flow_id, fired_at, attempt, lease_token, pool, params,
          needs_met, queue_until, intent, losses, traceparent;
