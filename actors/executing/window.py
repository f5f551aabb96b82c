"""The window an executor keeps open to its pool's queue.

A pushed offer that finds no free slot is lost to executors that have one, so the window closes
when all slots stay busy. It does not close for a moment's fullness: pausing and resuming costs
two round trips, and slots that run short jobs are full and free again within milliseconds.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from scheduler.clock import Clock
from scheduler.ports import Consumer

PATIENCE_S: Final = 0.1
"""So long may an offer wait for a slot, or all slots be busy, before the window closes."""
_LOOKS_BEFORE_WIDENING: Final = 10
_WIDEST: Final = 64


class Window:
    """Holds the consumer's credit: open, or closed while no slot gets free."""

    def __init__(self, slots: int, clock: Clock, give_back: Callable[[], Awaitable[None]]) -> None:
        self._slots = slots
        self._clock = clock
        self._give_back = give_back
        """Releases what is in hand unclaimed; called when the window has closed."""
        self._consumer: Consumer | None = None
        self._full = asyncio.Event()
        self._free = asyncio.Event()
        self._free_slots = slots
        self._changed_at = clock.monotonic()
        self._oldest: float | None = None
        self._mean_size = 1.0
        self._shut = False
        self.credit = self._wanted()

    def attach(self, consumer: Consumer) -> None:
        """Take charge of a consumer that was opened with ``credit``."""
        self._consumer = consumer

    def look(self, free: int, oldest: float | None, mean_size: float) -> None:
        """Hear how many slots are free, since when the oldest unclaimed offer waits, and how long lists are."""
        if free > self._free_slots or (free <= 0 < self._free_slots):
            self._changed_at = self._clock.monotonic()
        self._free_slots, self._oldest, self._mean_size = free, oldest, mean_size
        if free > 0 and oldest is None:
            self._full.clear()
            self._free.set()
        else:
            self._free.clear()
            self._full.set()

    async def shut(self) -> None:
        """Close, and stay so until ``reopen``."""
        self._shut = True
        await self._set(0)

    async def reopen(self) -> None:
        """Open again after ``shut``."""
        self._shut = False
        await self._set(self._wanted())

    async def tend(self) -> None:
        """Close and open the window as the slots fill and empty, until cancelled."""
        while True:
            await self._full.wait()
            await self._clock.sleep(PATIENCE_S)
            if self._stuck():
                await self._close_until_free()
            elif self.credit >= 2 * self._wanted():  # lists have come
                await self._set(self._wanted())

    async def _close_until_free(self) -> None:
        """Close; open again as far as slots are free, and to the full width when that went well."""
        calm = False
        while not calm:
            await self._set(0)
            await self._give_back()
            await self._free.wait()
            await self._set(min(self._free_slots, self._wanted()))
            calm = await self._stays_free()
        await self._set(self._wanted())

    async def _stays_free(self) -> bool:
        for _ in range(_LOOKS_BEFORE_WIDENING):
            await self._clock.sleep(PATIENCE_S)
            if self._stuck():
                return False
        return True

    def _wanted(self) -> int:
        """Return the deliveries that keep all slots busy: one more than fill them."""
        return min(_WIDEST, 1 + round(self._slots / self._mean_size))

    def _stuck(self) -> bool:
        now = self._clock.monotonic()
        if self._oldest is not None and now - self._oldest >= PATIENCE_S:
            return True
        return self._free_slots <= 0 and now - self._changed_at >= PATIENCE_S

    async def _set(self, credit: int) -> None:
        if credit and self._shut:
            return
        self.credit = credit
        if self._consumer is not None:
            await self._consumer.set_credit(credit)
