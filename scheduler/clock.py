"""The only module that reads a clock or sleeps.

``now`` is for instants people see and schedules are planned by; ``monotonic`` is for measuring
and for timers. Leases are judged by neither: the database's clock decides those.
"""

import asyncio
import heapq
import itertools
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Time, as far as an actor may know it."""

    def now(self) -> datetime:
        """Return the present instant, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back, from an arbitrary zero."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds``; at once when it is zero or less."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))


class VirtualClock:
    """A clock that stands still until it is told to move; used by tests and by ``simulate``.

    ``advance`` wakes each sleeper at its own instant, in order, and lets the loop run between
    two of them, so that what a sleeper does at 12:00:01 happens before 12:00:02 comes.
    """

    def __init__(self, start: datetime) -> None:
        if start.tzinfo is None:
            raise ValueError("a clock needs an aware start")
        self._now = start.astimezone(UTC)
        self._monotonic = 0.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._monotonic + seconds, next(self._order), woken))
        await woken

    @property
    def sleepers(self) -> int:
        """How many wait for time to pass."""
        return sum(not woken.done() for _, _, woken in self._sleepers)

    async def advance(self, by: timedelta) -> None:
        """Move forward by ``by``; every sleeper due on the way is woken at its instant."""
        target = self._monotonic + by.total_seconds()
        while self._sleepers and self._sleepers[0][0] <= target:
            due, _, woken = heapq.heappop(self._sleepers)
            self._move_to(max(due, self._monotonic))
            if not woken.done():
                woken.set_result(None)
            for _ in range(8):  # let what was woken reach its next sleep
                await asyncio.sleep(0)
        self._move_to(target)
        await asyncio.sleep(0)

    def jump(self, to: datetime) -> None:
        """Set the wall clock, forwards or backwards, as an operator or NTP would; wakes nobody."""
        self._now = to.astimezone(UTC)

    def _move_to(self, monotonic: float) -> None:
        self._now += timedelta(seconds=monotonic - self._monotonic)
        self._monotonic = monotonic
