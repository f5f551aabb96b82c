"""A stage for Watchers: real folders, a real database, a broker in memory, and what was recorded."""

import asyncio
import contextlib
import os
import random
import resource
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from actors.file_watch import WatchSettings
from actors.watcher import Watcher
from scheduler.clock import SystemClock
from scheduler.definitions.model import Definitions
from scheduler.roles import ACTOR_ROLES
from scheduler.store.definitions import apply
from scheduler.store.pool import connect
from scheduler.store.roles import as_role
from scheduler.store.stores import Stores
from scheduler.transport.memory import MemoryTransport
from scheduler.transport.memory_broker import MemoryBroker
from scheduler.transport.topology import topology
from scheduler.watching.hints import Hints
from schemas.job_spec import JobSpec

DEADLINE_S = 40.0
QUICK = WatchSettings(lease_s=1.0, rescan_s=30.0, poll_s=0.3)


@dataclass
class WatchStage:
    dsn: str
    base: Path
    stores: Stores
    db: "asyncpg.Connection[asyncpg.Record]"
    broker: MemoryBroker
    clock: SystemClock = field(default_factory=SystemClock)
    transports: list[MemoryTransport] = field(default_factory=list)
    watchers: list[Watcher] = field(default_factory=list)
    opened: list[Stores] = field(default_factory=list)

    async def apply(self, *files: dict[str, Any], **job: Any) -> None:
        """Make one job of a trigger for each of ``files``."""
        triggers = [{"file": one, "id": f"t{number}"} for number, one in enumerate(files)]
        spec = JobSpec.model_validate({"run": {"command": ["true"]}, "triggers": triggers, **job})
        await apply(
            self.stores.main, Definitions("default", None, {"take": spec}, {}, ()), prune=True, clock=self.clock
        )

    async def watcher(self, settings: WatchSettings = QUICK, *, starved: bool = False) -> Watcher:
        """Start one more Watcher, under its own role; ``starved``: at a moment when no inotify instance can be made."""
        transport = MemoryTransport(self.broker, self.clock, random.Random(1))
        await transport.start()
        stores = await Stores.open(as_role(self.dsn, ACTOR_ROLES["watcher"]), name="watcher", size=3)
        hints = Hints()
        made = Watcher(stores, transport, self.clock, random.Random(1), settings, (self.base, hints))
        if starved:
            with no_more_descriptors():
                await made.start()
                while hints.trouble is None:
                    await asyncio.sleep(0)
        else:
            await made.start()
        self.transports.append(transport)
        self.opened.append(stores)
        self.watchers.append(made)
        return made

    async def broker_depth(self) -> int:
        """How many bodies lie on the Dispatcher's queue."""
        return (await self.transports[0].depth("scheduler.dispatcher.events"))[0]

    async def watching(self, count: int = 1) -> None:
        """Wait until so many folders have been looked at."""
        await self.until("SELECT count(*) FROM watches WHERE based_at IS NOT NULL AND owner IS NOT NULL", count)

    async def until(self, query: str, wanted: Any, holds: Callable[[Any, Any], bool] = lambda a, b: a == b) -> Any:
        found: Any = None
        for _ in range(int(DEADLINE_S * 50)):
            found = await self.db.fetchval(query)
            if holds(found, wanted):
                return found
            await asyncio.sleep(0.02)
        rows = await self.db.fetch("SELECT topic, data ->> 'relative' AS r FROM events ORDER BY id LIMIT 20")
        raise AssertionError(f"{query} stayed {found!r}: {[tuple(row) for row in rows]}")

    async def events(self, count: int) -> list[tuple[str, str]]:
        """Return change and path of the events, those of one moment in any order, once there are ``count``."""
        await self.until("SELECT count(*) FROM events WHERE source = 'file'", count)
        rows = await self.db.fetch("SELECT topic, data ->> 'relative' AS path FROM events ORDER BY id")
        return [(row["topic"].removeprefix("file."), row["path"]) for row in rows]

    async def settled(self, folder: Path, expected: int) -> list[tuple[str, str]]:
        """Return the events, sorted, once one file more has come, and nothing else with it."""
        (folder / "zz-last").write_text("x")
        found = await self.events(expected + 1)
        found.remove(("added", "zz-last"))
        return sorted(found)


@contextlib.contextmanager
def no_more_descriptors() -> Iterator[None]:
    """Let this process open nothing new."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextlib.asynccontextmanager
async def watch_stage(dsn: str, base: Path) -> AsyncIterator[WatchStage]:
    broker = MemoryBroker()
    broker.declare(topology({"default": 1000}))
    stores = await Stores.open(dsn, name="test", size=2)
    db = await connect(dsn, name="test")
    stage = WatchStage(dsn, base, stores, db, broker)
    try:
        yield stage
    finally:
        for watcher in stage.watchers:
            await watcher.stop()
        for transport in stage.transports:
            await transport.close()
        await db.close()
        for opened in (stores, *stage.opened):
            await opened.close()
