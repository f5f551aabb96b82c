-- name: describe_ends
-- What is told of ended runs. depth: how many runs one after the other led to this end.
SELECT r.id, r.tenant, r.job_id, r.job_name, r.state, r.flow_id, r.attempt, r.reason, r.result, r.fired_at, r.created_at,
       r.claimed_at, r.finished_at, r.outcome, r.params, r.retry_of, r.traceparent,
       a.exit_code, a.http_status, a.exception, a.elapsed_s, coalesce(e.depth, 0) + 1 AS depth
FROM runs AS r
LEFT JOIN attempts AS a ON a.run_id = r.id AND a.attempt = r.attempt
LEFT JOIN flows AS w ON w.id = r.flow_id
LEFT JOIN firings AS f ON f.id = w.firing_id
LEFT JOIN events AS e ON e.id = f.event_id
WHERE r.id = ANY ($1::uuid[])
ORDER BY r.finished_at, r.id;

-- name: owe_ends
-- Runs of jobs whose ends are waited for since their flows were written: their ends owe a step from now on.
UPDATE runs SET has_downstream = true
WHERE job_id = ANY ($1::uuid[]) AND state IN ('ready', 'queued', 'running', 'backing_off') AND NOT has_downstream;
