"""Puts work into the system and waits for what becomes of it."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from benchmarks.system import System
from scheduler.clock import SystemClock
from scheduler.definitions.model import Definitions
from scheduler.store.control import trigger_jobs
from scheduler.store.definitions import apply
from scheduler.store.stores import Stores
from schemas.job_spec import JobSpec

CLOCK: Final = SystemClock()
_LOOK_S: Final = 0.5
"""Rare, because looking has its cost, and what is measured does not depend on it."""
_LOOK_AT_FILE_S: Final = 0.02
_PATIENCE_S: Final = 300.0

_BUSY: Final = """
SELECT EXISTS (SELECT FROM scheduler.triggers WHERE active AND next_at <= now() + interval '0.5 s')
    OR EXISTS (SELECT FROM scheduler.firings WHERE sweep_at IS NOT NULL)
    OR EXISTS (SELECT FROM scheduler.runs WHERE state IN ('waiting', 'ready', 'queued', 'running', 'backing_off'))
"""


class BenchmarkError(Exception):
    """What was measured is not what should have been."""


@dataclass(frozen=True, slots=True)
class Load:
    """A hand on the database, as the command line has."""

    system: System
    stores: Stores
    db: "asyncpg.Connection[asyncpg.Record]"

    async def apply(self, tenant: str, jobs: Mapping[str, Mapping[str, Any]]) -> None:
        specs = {name: JobSpec.model_validate(job) for name, job in jobs.items()}
        await apply(self.stores.main, Definitions(tenant, None, specs, {}, ()), prune=False, clock=CLOCK)

    async def trigger(self, tenant: str, job: str) -> None:
        """Do what ``scheduler trigger`` does."""
        await trigger_jobs(self.stores.main, tenant, [job], params=None, clock=CLOCK)

    async def warm(self, tenant: str, job: str) -> None:
        """Run a job once, so that the tenant's definitions are in every cache, and let the tables settle."""
        await self.trigger(tenant, job)
        await self.idle()
        await self.db.execute("VACUUM ANALYZE")
        await self.db.execute("CHECKPOINT")

    async def idle(self) -> None:
        """Wait until nothing is due (within half a second), undecided or under way."""
        deadline = time.monotonic() + _PATIENCE_S
        while await self.db.fetchval(_BUSY):
            if time.monotonic() > deadline:
                raise BenchmarkError("it does not come to an end")
            await asyncio.sleep(_LOOK_S)

    async def entries(self, count: int, prefix: str) -> Sequence["Entry"]:
        """Return the first ``count`` lines of ``enter`` that begin with ``prefix``, when they are there."""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            path = self.system.entries
            lines = path.read_text(encoding="ascii").splitlines() if path.exists() else []
            found = [Entry.read(line) for line in lines if line.startswith(prefix)]
            if len(found) >= count:
                return found[:count]
            if time.monotonic() > deadline:
                raise BenchmarkError(f"{len(found)} of {count} handlers {prefix}* were entered")
            await asyncio.sleep(_LOOK_AT_FILE_S)


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the handler ``enter``; seconds since 1970."""

    job: str
    flow: str
    at: float
    fired_at: float

    @classmethod
    def read(cls, line: str) -> "Entry":
        job, flow, at, fired_at = line.split()
        return cls(job, flow, float(at), float(fired_at))


@asynccontextmanager
async def load(system: System) -> AsyncIterator[Load]:
    stores = await Stores.open(system.dsn, name="bench")
    db = await asyncpg.connect(system.dsn)
    try:
        yield Load(system, stores, db)
    finally:
        await db.close()
        await stores.close()


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Return p50 and p99 in milliseconds (nearest rank)."""
    ranked = sorted(seconds)
    return {
        name: round(ranked[max(0, -(-len(ranked) * share // 100) - 1)] * 1000, 2)
        for name, share in (("p50", 50), ("p99", 99))
    }
