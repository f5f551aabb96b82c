"""Doorbell: a LISTEN connection that wakes a loop early. Missing a ring costs time, never a row."""

import asyncio
import contextlib
from typing import Final, Self

import asyncpg

from scheduler.clock import Clock
from scheduler.store.pool import connect, reachable

DEFINITIONS: Final = "scheduler_definitions"
"""Jobs, triggers, pauses or pools changed."""
WORK: Final = "scheduler_work"
"""Somebody wrote a firing, or made a run ready."""
CANCEL: Final = "scheduler_cancel"
"""Somebody wants a running attempt stopped; the payload is ``<tenant> <run id>``."""
EXECUTORS: Final = "scheduler_executors"
"""What somebody wants of an executor changed; the payload is ``<boot id> <name>``."""
FOLLOW: Final = "scheduler_follow"
"""Somebody looks at a running attempt; the payload is ``<tenant> <run id> <attempt> <first byte, or ->``."""
WAKE: Final = "scheduler_wake"
"""A run waits for a time that may be earlier than the ones known before."""


class Doorbell:
    """Listens to channels of one database. A context manager; payloads gather until they are taken."""

    def __init__(self, dsn: str, *channels: str, name: str) -> None:
        self._dsn = dsn
        self._channels = channels
        self._name = name
        self._rung = asyncio.Event()
        self._payloads: list[tuple[str, str]] = []
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

    async def __aenter__(self) -> Self:
        self._connection = await connect(self._dsn, name=self._name)
        self._connection.add_termination_listener(self._on_end)
        async with reachable(self._dsn):
            for channel in self._channels:
                await self._connection.add_listener(channel, self._on_ring)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._connection is not None:
            with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
                await self._connection.close(timeout=2)

    async def wait(self, clock: Clock, timeout_s: float) -> list[tuple[str, str]]:
        """Return (channel, payload) of what rang since the last call; [] when nothing did in ``timeout_s``.

        Raises:
            DatabaseUnavailableError: the connection is gone; open a new doorbell.
        """
        if not self._rung.is_set() and timeout_s > 0:
            ring = asyncio.ensure_future(self._rung.wait())
            sleep = asyncio.ensure_future(clock.sleep(timeout_s))
            try:
                await asyncio.wait({ring, sleep}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                ring.cancel()
                sleep.cancel()
                await asyncio.gather(ring, sleep, return_exceptions=True)
        if self._connection is None or self._connection.is_closed():
            async with reachable(self._dsn):
                raise asyncpg.InterfaceError("the LISTEN connection was closed")
        self._rung.clear()
        payloads, self._payloads = self._payloads, []
        return payloads

    def _on_ring(self, _connection: object, _pid: int, channel: str, payload: object) -> None:
        self._payloads.append((channel, str(payload)))
        self._rung.set()

    def _on_end(self, _connection: object) -> None:
        self._rung.set()
