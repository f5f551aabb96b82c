"""Service: anything of ours that lives for a while. One shape for actors, transports and servers.

``start`` returns when the service works, or raises. ``drain`` refuses new work and finishes what
is in hand; it may come at any moment, also twice. ``stop`` ends at once. A service owns its
tasks: none outlives it, and one that ends by itself is started again, because an actor that
silently does nothing is the worst failure there is.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable

import structlog

from scheduler.clock import Clock
from scheduler.errors import TransientError

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_FIRST_BACKOFF_S = 0.1
_LONGEST_BACKOFF_S = 5.0
_STEADY_S = 30.0
"""A loop that lived this long starts its backoff anew."""


class Service:
    """Base of what starts, drains and stops; holds named loops and keeps them going."""

    def __init__(self, name: str, clock: Clock, rng: random.Random) -> None:
        self.name = name
        self.clock = clock
        self.rng = rng
        self.draining = False
        self._loops: dict[str, asyncio.Task[None]] = {}
        self._troubles: dict[str, str] = {}

    async def start(self) -> None:
        """Begin to work."""

    async def drain(self) -> None:
        """Finish what is in hand, take nothing new, then stop."""
        self.draining = True
        await self.stop()

    async def stop(self) -> None:
        """End at once: cancel every loop and wait until it is gone."""
        loops = [task for task in self._loops.values() if task is not asyncio.current_task()]
        for task in loops:
            task.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        self._loops.clear()

    def troubles(self) -> dict[str, str]:
        """Return what keeps this service from being ready, by loop name; empty when ready."""
        return dict(self._troubles)

    def keep(self, name: str, body: Callable[[], Awaitable[None]]) -> None:
        """Run ``body`` as a loop called ``name`` for the life of the service; any end starts it again."""
        self._loops[name] = asyncio.create_task(self._kept(name, body), name=f"{self.name}.{name}")

    async def _kept(self, name: str, body: Callable[[], Awaitable[None]]) -> None:
        backoff = _FIRST_BACKOFF_S
        while True:
            began = self.clock.monotonic()
            try:
                await body()
                if self.draining:
                    return
                trouble = "ended by itself"
                log.error("loop.ended", service=self.name, loop=name)
            except TransientError as error:
                trouble = str(error)
                log.warning("loop.retried", service=self.name, loop=name, error=trouble)
            except asyncio.CancelledError:
                if is_cancelled():
                    raise
                # aiormq cancels our futures when a connection dies: that is no wish of ours to end.
                trouble = "connection lost"
                log.warning("loop.retried", service=self.name, loop=name, error=trouble)
            except Exception as error:
                trouble = f"{type(error).__name__}: {error}"
                log.exception("loop.failed", service=self.name, loop=name)
            self._troubles[name] = trouble
            if is_cancelled():  # it came out as something else, of a transaction that could not be ended for one
                return
            if self.clock.monotonic() - began >= _STEADY_S:
                backoff = _FIRST_BACKOFF_S
            await self.clock.sleep(backoff * self.rng.uniform(0.5, 1.0))
            backoff = min(backoff * 2, _LONGEST_BACKOFF_S)

    def well(self, name: str) -> None:
        """Say that the loop ``name`` works; it no longer counts against readiness."""
        self._troubles.pop(name, None)


def is_cancelled() -> bool:
    """Whether somebody wants the task that asks to end; a CancelledError alone does not say so."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
