"""What ``up`` shows while it runs: the runs of this session, and whether more is to come."""

import asyncio
import sys
from datetime import timedelta
from operator import itemgetter
from typing import TYPE_CHECKING, Final

import structlog

from scheduler.cli.run_follower import RunFollower
from scheduler.domain.trace import trace_id_of
from scheduler.embedded_scheduler import EmbeddedScheduler
from scheduler.service import Service
from scheduler.store.reading import is_idle
from scheduler.store.stores import Store
from scheduler.wiring import World

if TYPE_CHECKING:
    from scheduler.cli.live import LiveRuns

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_QUICK_S: Final = 0.25
"""Between two looks while somebody watches or waits for the end."""
_SLOW_S: Final = 1.0


class UpSession(Service):
    """The actors, and a loop beside them that follows their runs. Sets ``stopping`` when all is done."""

    def __init__(self, world: World, *, until_idle: bool, stopping: asyncio.Event) -> None:
        super().__init__("session", world.clock, world.rng)
        self.failed = 0
        """Runs made in this session that failed."""
        self._until_idle = until_idle
        self._stopping = stopping
        self._scheduler: EmbeddedScheduler | None = None
        self._follower: RunFollower | None = None
        self._live: LiveRuns | None = None

    def over(self, scheduler: EmbeddedScheduler) -> "UpSession":
        """Take the scheduler whose runs to follow; runs made from now on are this session's."""
        self._scheduler = scheduler
        if self._follower is None:
            self._follower = RunFollower(self.clock)
        return self

    async def start(self) -> None:
        await self._opened.actors.start()
        if sys.stdout.isatty():
            from scheduler.cli.live import LiveRuns

            self._live = LiveRuns()
            self._live.start()
        self.keep("follow", self._follow)

    async def drain(self) -> None:
        self.draining = True
        await self._opened.actors.drain()
        await super().stop()
        await self._look()
        self._end_display()

    async def stop(self) -> None:
        await super().stop()
        self._end_display()
        await self._opened.actors.stop()

    def troubles(self) -> dict[str, str]:
        return super().troubles() | self._opened.actors.troubles()

    @property
    def _opened(self) -> EmbeddedScheduler:
        if self._scheduler is None:
            raise RuntimeError("the session has no scheduler")
        return self._scheduler

    @property
    def _store(self) -> Store:
        return self._opened.stores.main

    async def _follow(self) -> None:
        quick = self._until_idle or self._live is not None
        while True:
            await self._look()
            self.well("follow")
            if self._until_idle and await is_idle(self._store):
                self._stopping.set()
            await self.clock.sleep(_QUICK_S if quick else _SLOW_S)

    async def _look(self) -> None:
        if self._follower is None:
            return
        moved = await self._follower.poll(self._store)
        self.failed = self._follower.counts["failed"]
        if self._live is not None:
            self._live.show(moved, self._follower.counts)
            return
        for run in sorted(filter(itemgetter("finished_at"), moved), key=itemgetter("finished_at", "id")):
            log.info(
                "run.settled",
                tenant=run["tenant"],
                job_id=run["job"],
                run_id=str(run["id"]),
                attempt=run["attempt"],
                execution_time_ms=_elapsed_ms(run["claimed_at"], run["finished_at"]),
                trace_id=trace_id_of(run["flow_id"], run["traceparent"]),
                state=run["state"],
                reason=run["reason"],
            )

    def _end_display(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


def _elapsed_ms(begun: object, ended: object) -> float | None:
    from datetime import datetime

    if not isinstance(begun, datetime) or not isinstance(ended, datetime):
        return None
    return round((ended - begun) / timedelta(milliseconds=1), 3)
