"""Runs that ended long ago, by the thousand: written down as an engine would have left them."""

from typing import Final
from uuid import UUID

import asyncpg

FILL: Final = """
WITH made AS MATERIALIZED (
    SELECT g, at, (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || substr(md5(g::text), 1, 3)
                   || '8' || substr(md5(g::text), 4, 15))::uuid AS id
    FROM (SELECT g, now() - $1::interval - g * ($2::interval / $3) AS at FROM generate_series(0, $3 - 1) AS g) AS times
), named AS (
    SELECT made.*, j.id AS job_id, j.name, j.tenant,
           CASE WHEN g % 20 = 0 THEN 'failed' ELSE 'succeeded' END AS state
    FROM made JOIN jobs AS j ON j.name = $4 || (made.g % $5)
), fired AS (
    INSERT INTO firings (id, tenant, kind, trigger_id, job_id, job_version, fires_at, wall_time, zone, planned_at,
                         verdict, decided_at, run_id)
    SELECT id, tenant, 'time', job_id, job_id, 1, at, g::text, 'UTC', at, 'started', at, id FROM named
), flown AS (
    INSERT INTO flows (id, tenant, job_id, firing_id, started_at) SELECT id, tenant, job_id, id, at FROM named
), tried AS (
    INSERT INTO attempts (run_id, attempt, tenant, outcome, output_head, finished_at, elapsed_s)
    SELECT id, 1, tenant, state, 'said ' || g, at + interval '1 second', 1 FROM named
)
INSERT INTO runs (id, tenant, job_id, job_version, job_name, flow_id, firing_id, fired_at, state, pool, priority,
                  created_at, ready_at, claimed_at, finished_at, outcome, discarded_at)
SELECT id, tenant, job_id, 1, name, id, id, at, state, 'default', 2, at, at, at, at + interval '1 second', state,
       CASE WHEN state = 'failed' THEN at END
FROM named
"""
JOBS: Final = """
WITH made AS (INSERT INTO jobs (id, tenant, name, version)
              SELECT gen_random_uuid(), $1, $2 || g, 1 FROM generate_series(0, $3 - 1) AS g RETURNING id, tenant)
INSERT INTO job_versions (job_id, version, tenant, spec) SELECT id, 1, tenant, $4::jsonb FROM made
"""


async def fill(
    db: "asyncpg.Connection[asyncpg.Record]",
    runs: int,
    *,
    newest: str,
    over: str,
    jobs: int = 1,
    job: str = "job",
    tenant: str = "default",
    spec: dict[str, object] | None = None,
) -> None:
    """Write ``runs`` runs of ``jobs`` jobs, job0 and so on: the youngest ``newest`` ago, others in the span before it.

    Each is a flow of its own with its firing and one attempt; every twentieth has failed, and was discarded.
    """
    await db.execute("INSERT INTO tenants (name) VALUES ($1) ON CONFLICT DO NOTHING", tenant)
    await db.execute(JOBS, tenant, job, jobs, {"pool": "default"} | (spec or {}))
    await db.execute("SET enable_hashjoin = on; SET synchronous_commit = off")
    await db.execute(FILL.replace("$1", f"'{newest}'").replace("$2", f"'{over}'").replace("$3", str(runs))
                     .replace("$4", f"'{job}'").replace("$5", str(jobs)))  # fmt: skip


async def ids(db: "asyncpg.Connection[asyncpg.Record]", query: str) -> list[UUID]:
    return [row[0] for row in await db.fetch(query)]
