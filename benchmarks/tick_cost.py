"""What a tick costs when many triggers are stored: as many are due, only the others differ."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from benchmarks.load import BenchmarkError
from benchmarks.processes import tree_cpu_s
from benchmarks.system import POSTGRES
from scheduler.clock import SystemClock
from scheduler.ids import uuid7
from scheduler.store.migrate import migrate
from scheduler.store.planning import Planning
from scheduler.store.pool import connect
from scheduler.store.stores import Stores
from scheduler.store.waking import find_next_tick, wake_runs
from tests.support.services import Estate
from tests.support.services_postgres import PostgresServer

FEW: Final = 10_000
_DUE: Final = 100
"""Triggers due at each tick."""
_LIMIT: Final = 500
_TICKS: Final = 40
_WARM_UP: Final = 5
_START: Final = datetime(2026, 3, 2, 12, tzinfo=UTC)

_NO_CHECKPOINT: Final = {"checkpoint_timeout": "1h", "max_wal_size": "16GB", "autovacuum": "off"}
"""The pages a tick is first to touch after a checkpoint are logged whole: that belongs to checkpoints, not to ticks."""

_FILL: Final = """
INSERT INTO tenants (name) VALUES ('t');
CREATE TEMP TABLE ids AS SELECT n, gen_random_uuid() AS id, row_number() OVER (ORDER BY md5(n::text)) AS turn
    FROM generate_series(1, {stored}) AS n;
INSERT INTO jobs (id, tenant, name, version) SELECT id, 't', 'job-' || n, 1 FROM ids;
INSERT INTO job_versions (job_id, version, tenant, spec)
    SELECT id, 1, 't', '{{"timezone": "Asia/Tokyo", "priority": "normal", "catch_up": {{}}}}' FROM ids;
INSERT INTO triggers (id, tenant, job_id, job_version, key, kind, spec, anchor_at, last_at, next_at)
    SELECT gen_random_uuid(), 't', id, 1, 'daily', 'every', '{{"every": "1d"}}', at, at - interval '1 day', at
    FROM (SELECT id, timestamptz '{start}' + CASE
              WHEN turn <= {due} THEN interval '1 second' * ((turn + {each} - 1) / {each})
              ELSE interval '1 hour' + interval '1 second' * (n % 80000) END AS at FROM ids) AS planned;
"""
"""The triggers that are due during the ticks lie anywhere in the table, the others are due within the next day."""


_LOOKED_AHEAD: Final = timedelta(seconds=15)
"""As a Ticker does, to see a crowd coming."""


@dataclass(slots=True)
class _Stored:
    """A database with that many triggers, and what a Ticker does with it but for the broker."""

    stores: Stores
    planning: Planning
    now: datetime = _START
    busy_s: list[float] = field(default_factory=list)
    idle_s: list[float] = field(default_factory=list)

    async def tick(self) -> None:
        """Plan the triggers of the next second, then look once more with nothing due."""
        self.now += timedelta(seconds=1)
        for spent, due in ((self.busy_s, _DUE), (self.idle_s, 0)):
            since = time.perf_counter()
            planned = await self.planning.plan_due(self.stores.main, now=self.now, limit=_LIMIT)
            await wake_runs(self.stores.main)
            await find_next_tick(self.stores.main, self.now + _LOOKED_AHEAD)
            spent.append(time.perf_counter() - since)
            if planned.triggers != due:
                raise BenchmarkError(f"{planned.triggers} triggers were planned, {due} were due")


def measure_tick_cost(scale: float) -> dict[str, Any]:
    """Compare FEW stored triggers with a million times ``scale``; the ticks of both alternate."""
    estate = Estate.open()
    try:
        postgres = PostgresServer(estate, "postgres", settings=POSTGRES | _NO_CHECKPOINT)
        postgres.start()
        return asyncio.run(_compare(postgres, max(2 * FEW, round(1_000_000 * scale))))
    finally:
        estate.close()


async def _compare(postgres: PostgresServer, many: int) -> dict[str, Any]:
    async with _store(postgres, FEW) as few, _store(postgres, many) as more:
        for _ in range(_WARM_UP):
            await few.tick()
            await more.tick()
        few.busy_s, few.idle_s, more.busy_s, more.idle_s = [], [], [], []
        cpu_s: dict[int, float] = {}
        for one in (few, more) * (_TICKS - _WARM_UP):
            before = tree_cpu_s(postgres.pids[1]) + time.process_time()
            await one.tick()
            spent = tree_cpu_s(postgres.pids[1]) + time.process_time() - before
            cpu_s[id(one)] = cpu_s.get(id(one), 0.0) + spent
    return {
        "stored": many,
        "due": _DUE,
        "few_ms": _median_ms(few.busy_s),
        "many_ms": _median_ms(more.busy_s),
        "ratio": round(statistics.median(more.busy_s) / statistics.median(few.busy_s), 3),
        "cpu_ratio": round(cpu_s[id(more)] / cpu_s[id(few)], 3),
        "idle_few_ms": _median_ms(few.idle_s),
        "idle_many_ms": _median_ms(more.idle_s),
    }


def _median_ms(seconds: list[float]) -> float:
    return round(1000 * statistics.median(seconds), 2)


@asynccontextmanager
async def _store(postgres: PostgresServer, stored: int) -> AsyncIterator[_Stored]:
    name = f"stored_{stored}"
    server = await connect(postgres.dsn(), name="benchmark")
    await server.execute(f"CREATE DATABASE {name}")
    await server.close()
    await migrate(postgres.dsn(name))
    await _fill(postgres.dsn(name), stored)
    stores = await Stores.open(postgres.dsn(name), name="benchmark", size=2)
    try:
        yield _Stored(stores, Planning(partial(uuid7, SystemClock()), timedelta(0)))
    finally:
        await stores.close()


async def _fill(dsn: str, stored: int) -> None:
    db = await connect(dsn, name="benchmark")
    try:
        await db.execute("SET synchronous_commit = off; SET work_mem = '256MB'; SET enable_seqscan = on")
        text = _FILL.format(stored=stored, due=_DUE * _TICKS, each=_DUE, start=_START.isoformat())
        await db.execute(text, timeout=600)
        await db.execute("VACUUM ANALYZE", timeout=600)
    finally:
        await db.close()
