"""Reads over HTTP while a million runs are stored: ``python -m benchmarks.api_reads [runs]`` prints p50 and p99.

One ingress and one caller in one process, on a PostgreSQL server of its own. Runs are of two days, of a
hundred jobs of one tenant, one in fifty failed; a tenth as many of another tenant lie between them.
"""

import asyncio
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

import asyncpg

from benchmarks.load import percentiles
from scheduler.store.migrate import migrate
from tests.support.api import DAILY, Api, serving
from tests.support.services import Estate
from tests.support.services_postgres import PostgresServer

_RUNS: Final = 1_000_000
_JOBS: Final = 100
_ASKED: Final = 300
_SPAN: Final = timedelta(days=2)
_FILL: Final = """
    INSERT INTO runs (id, tenant, job_id, job_version, job_name, flow_id, fired_at, state, pool, priority, created_at,
                      ready_at, claimed_at, finished_at, outcome)
    SELECT id, tenant, job_id, 1, job_name, id, at, state, 'default', 2, at, at, at, at + interval '1 second', state
    FROM (SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7000'
                  || substr(md5(n::text), 1, 16))::uuid AS id,
                 j.tenant, j.id AS job_id, j.name AS job_name, at,
                 CASE WHEN n % 50 = 0 THEN 'failed' ELSE 'succeeded' END AS state
          FROM (SELECT n, now() - $2::interval * (1 - n::float8 / $1) AS at FROM generate_series(1, $1) AS n) AS s
          JOIN (SELECT id, name, tenant, row_number() OVER (ORDER BY tenant, name) - 1 AS place FROM jobs) AS j
               ON j.place = CASE WHEN s.n % 11 = 0 THEN $3 ELSE s.n % $3 END) AS made
"""
_ATTEMPTS: Final = """
    INSERT INTO attempts (run_id, attempt, tenant, outcome, started_at, finished_at, elapsed_s, output_head,
                          output_bytes)
    SELECT id, 1, tenant, state, claimed_at, finished_at, 1.0, 'hello', 5 FROM runs
"""
_FLOWS: Final = "INSERT INTO flows (id, tenant, job_id, started_at) SELECT id, tenant, job_id, created_at FROM runs"
_FIRINGS: Final = """
    INSERT INTO firings (id, tenant, kind, job_id, job_version, fires_at, wall_time, zone, verdict, run_id, decided_at)
    SELECT id, tenant, 'manual', job_id, 1, fired_at, '', 'UTC', 'started', id, fired_at FROM runs
"""


async def measure(dsn: str, runs: int) -> dict[str, dict[str, float]]:
    """Return p50 and p99 in milliseconds by address."""
    await migrate(dsn)
    async with serving(dsn, http={"per_second": 100_000, "auth": "keys"}) as api:
        await api.apply("default", **{f"job_{n:03}": DAILY for n in range(_JOBS)})
        await api.apply("zother", its=DAILY)
        await _fill(api.db, runs)
        key = await api.key("viewer")
        return {path: await _time(api, path, key) for path in await _paths(api, key)}


async def _fill(db: "asyncpg.Connection[asyncpg.Record]", runs: int) -> None:
    await db.execute(_FILL, runs, _SPAN, _JOBS)
    for statement in (_ATTEMPTS, _FLOWS, _FIRINGS, "VACUUM ANALYZE"):
        await db.execute(statement)


async def _paths(api: Api, key: str) -> Sequence[str]:
    page: Any = (await api.get("/api/v1/runs?limit=50", key=key)).json
    run, after = page["runs"][-1]["id"], page["next"]
    return [
        *(f"/api/v1/{path}" for path in ("jobs", "jobs/job-007", "runs", f"runs?cursor={after}", "runs?state=failed")),
        *(f"/api/v1/jobs/job-007/{path}" for path in ("runs", "firings", "next")),
        *(f"/api/v1/runs/{run}{path}" for path in ("", "/attempts", "/logs", "/why")),
        *(f"/api/v1/{path}" for path in (f"flows/{run}", "firings", "dead-runs", "events", "feed", "backfills")),
        *(
            f"/api/v1/{path}"
            for path in ("calendars", "executors", "queues", "stats", "stats?job=job-007", "definitions")
        ),
        "/health/detailed",
    ]


async def _time(api: Api, path: str, key: str) -> dict[str, float]:
    took = []
    for asked in range(_ASKED + 20):
        begun = time.perf_counter()
        answer = await api.get(path, key=key)
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {answer.text}")
        if asked >= 20:
            took.append(time.perf_counter() - begun)
    return percentiles(took)


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else _RUNS
    estate = Estate.open()
    try:
        server = PostgresServer(estate, "postgres", settings={"synchronous_commit": "off", "shared_buffers": "256MB"})
        server.start()
        try:
            for path, found in asyncio.run(measure(server.dsn(), runs)).items():
                print(f"{found['p50']:8.2f} {found['p99']:8.2f}  {path}")
        finally:
            server.stop()
    finally:
        estate.close()


if __name__ == "__main__":
    main()
