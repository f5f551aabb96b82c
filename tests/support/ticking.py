"""A virtual clock, a real store, and Tickers to tick by hand."""

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg

from actors.base import Actor
from actors.dispatcher import Dispatcher, DispatchSettings
from actors.ticker import Ticker, TickSettings
from scheduler.clock import VirtualClock
from scheduler.definitions.model import Definitions
from scheduler.domain.zones import TZDATA_VERSION
from scheduler.store.control import enable_job, pause_job, resume_job
from scheduler.store.definitions import apply
from scheduler.store.pool import connect
from scheduler.store.stores import Stores
from scheduler.transport.memory import MemoryBroker, MemoryTransport
from scheduler.transport.topology import topology
from schemas.job_spec import JobSpec
from tests.support.cli import ROOT
from tests.support.forked import Forked

START = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
LEDGER = "SELECT fires_at, to_at, count, verdict FROM firings ORDER BY fires_at"


class Stage:
    """A virtual clock, a store, and Tickers to tick by hand."""

    def __init__(self, stores: Stores, db: "asyncpg.Connection[asyncpg.Record]") -> None:
        self.clock = VirtualClock(START)
        self.stores = stores
        self.db = db
        self.broker = MemoryBroker()
        self.broker.declare(topology({"default": 10}))
        self.transport = MemoryTransport(self.broker, self.clock, random.Random(1))
        self.actors: list[Actor] = []
        self.catch_up: dict[str, object] = {}
        """Of the jobs applied from now on."""

    async def ticker(self, batch_size: int = 1000, per_minute: int = 600, zone_data: str = TZDATA_VERSION) -> Ticker:
        """Return a Ticker that ticks only when told to."""
        settings = TickSettings(5.0, batch_size, per_minute, zone_data)
        ticker = Ticker(self.stores, self.transport, self.clock, random.Random(1), settings)
        ticker._publisher = await self.transport.publisher("ticker")  # started without its own loop
        self.actors.append(ticker)
        return ticker

    async def dispatcher(self) -> Dispatcher:
        """Return a Dispatcher that sweeps only when told to."""
        dispatcher = Dispatcher(self.stores, self.transport, self.clock, random.Random(1), DispatchSettings())
        dispatcher._publisher = await self.transport.publisher("dispatcher")
        self.actors.append(dispatcher)
        return dispatcher

    async def apply(
        self, *, priority: str = "normal", enabled: bool = True, **triggers: list[dict[str, object]]
    ) -> None:
        common = {
            "run": {"command": ["true"]},
            "overlap": "allow",
            "priority": priority,
            "enabled": enabled,
            "catch_up": self.catch_up,
        }
        jobs = {name: JobSpec.model_validate({**common, "triggers": given}) for name, given in triggers.items()}
        await apply(self.stores.main, Definitions("default", None, jobs, {}, ()), prune=False, clock=self.clock)

    async def pause(self, job: str) -> None:
        await pause_job(self.stores.main, "default", job, note=None, clock=self.clock)

    async def enable(self, job: str, *, enabled: bool = True) -> None:
        await enable_job(self.stores.main, "default", job, enabled=enabled, clock=self.clock)

    async def resume(self, job: str) -> None:
        await resume_job(self.stores.main, "default", job, clock=self.clock)

    async def zone_of(self, job: str, name: str) -> None:
        """Store a time zone that no definitions file could bring in."""
        await self.db.execute(
            "UPDATE job_versions SET spec = jsonb_set(spec, '{timezone}', to_jsonb($2::text)) "
            "WHERE job_id = (SELECT id FROM jobs WHERE name = $1)",
            job,
            name,
        )

    async def command(self, *words: str) -> str:
        """Run ``scheduler WORDS`` on the same database in a process of its own; return all it says."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        environment = kept | {"PYTHONPATH": str(ROOT), "DATABASE_URL": self.stores.main.dsn, "TZ": "UTC"}
        with TemporaryDirectory() as apart:
            said = Path(apart, "said")
            process = Forked(words, env=environment, cwd=ROOT, output=said)
            try:
                await asyncio.to_thread(process.wait)
            finally:
                process.kill()
            return said.read_text()

    async def planned_jobs(self) -> set[str]:
        return {row["name"] for row in await self.db.fetch("SELECT name FROM firings JOIN jobs ON jobs.id = job_id")}

    async def ledger(self) -> list[tuple[float, float | None, int, str | None]]:
        """Return (from, to, count, verdict), times in seconds after START."""

        def seconds(at: datetime | None) -> float | None:
            return None if at is None else (at - START).total_seconds()

        rows = await self.db.fetch(LEDGER)
        return [(seconds(row[0]) or 0.0, seconds(row[1]), row[2], row[3]) for row in rows]


@asynccontextmanager
async def open_stage(dsn: str) -> AsyncIterator[Stage]:
    stores = await Stores.open(dsn, name="test", size=8)
    db = await connect(dsn, name="test")
    opened = Stage(stores, db)
    await opened.transport.start()
    yield opened
    for actor in opened.actors:
        await actor.stop()
    await opened.transport.close()
    await db.close()
    await stores.close()
