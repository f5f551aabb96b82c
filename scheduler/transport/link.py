"""How the link to a broker stands, for those who wait for it and those who watch it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from scheduler.clock import Clock
from scheduler.errors import BrokerUnavailableError
from scheduler.ports import LinkState


class Link:
    """The state of a link with its reason; whoever owns the link moves it, anybody may watch."""

    def __init__(self, clock: Clock, address: str) -> None:
        self._clock = clock
        self._address = address
        self._watchers: set[asyncio.Queue[LinkState | None]] = set()
        self._closed = False
        self.state = LinkState.DOWN
        self.up_since: float | None = None
        self.reason = "not started"

    @property
    def trouble(self) -> str:
        """Say which broker is not reached, and why it was not the last time."""
        return f"broker {self._address} is not reachable: {self.reason}"

    def move(self, state: LinkState, reason: str = "") -> None:
        """Enter ``state``; ``reason`` is one line for people, kept while the link is not up."""
        self.reason = reason
        if state is self.state:
            return
        self.state = state
        self.up_since = self._clock.monotonic() if state is LinkState.UP else None
        for watcher in self._watchers:
            watcher.put_nowait(state)

    def close(self) -> None:
        """Go down for good: watchers end, and nobody is told of later moves."""
        self.move(LinkState.DOWN, "closed")
        self._closed = True
        for watcher in self._watchers:
            watcher.put_nowait(None)

    async def watch(self) -> AsyncGenerator[LinkState, None]:
        """Yield the present state, then each change, until the link is closed."""
        changes: asyncio.Queue[LinkState | None] = asyncio.Queue()
        self._watchers.add(changes)
        changes.put_nowait(self.state)
        if self._closed:
            changes.put_nowait(None)
        try:
            while (state := await changes.get()) is not None:
                yield state
        finally:
            self._watchers.discard(changes)

    async def wait_up(self, timeout_s: float) -> None:
        """Return when the link is not down.

        Raises:
            BrokerUnavailableError: still down after ``timeout_s``, or closed.
        """
        try:
            async with asyncio.timeout(timeout_s), aclosing(self.watch()) as changes:
                async for state in changes:
                    if state is not LinkState.DOWN:
                        return
        except TimeoutError:
            pass
        raise BrokerUnavailableError(self.trouble)
