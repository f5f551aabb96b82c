"""The way out of a transport on ``memory://``."""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from scheduler.clock import Clock
from scheduler.ports import LinkState, Out, PublishOutcome
from scheduler.transport.link import Link
from scheduler.transport.memory_broker import MemoryBroker

PUBLISH_TIMEOUT_S = 10.0


@dataclass(slots=True)
class Pending:
    """A publish whose outcome is not told yet; ``outcome`` is None until the broker has decided."""

    out: Out
    future: "asyncio.Future[PublishOutcome]"
    deadline: float
    outcome: PublishOutcome | None = None


class MemoryPublisher:
    """Enqueues in call order; tells the outcomes in later turns of the event loop.

    By the seed of ``rng`` an outcome comes before or after the message is delivered, as with a
    real broker.
    """

    def __init__(self, broker: MemoryBroker, link: Link, clock: Clock, rng: random.Random) -> None:
        self._broker = broker
        self._link = link
        self._clock = clock
        self._rng = rng
        self._waiting: deque[Pending] = deque()
        self._unconfirmed: deque[Pending] = deque()
        self._expiry: asyncio.Task[None] | None = None
        self._closed = False
        self.on_closed: Callable[[], object] = lambda: None

    def publish(self, message: Out) -> "asyncio.Future[PublishOutcome]":
        loop = asyncio.get_running_loop()
        # The copy keeps the promise of the wire: what the caller changes later changes nothing here.
        out = replace(message, body=bytes(message.body), headers=dict(message.headers))
        pending = Pending(out, loop.create_future(), self._clock.monotonic() + PUBLISH_TIMEOUT_S)
        if self._closed:
            tell(pending, PublishOutcome.UNKNOWN)
            return pending.future
        self._waiting.append(pending)
        if len(self._waiting) == 1:
            loop.call_soon(self.send)
        return pending.future

    async def close(self) -> None:
        self._closed = True
        under_way = [pending.future for pending in (*self._unconfirmed, *self._waiting)]
        if under_way:
            await asyncio.wait(under_way)
        if self._expiry is not None:
            self._expiry.cancel()
            await asyncio.wait([self._expiry])
        self.on_closed()

    def send(self) -> None:
        """Give the broker what waits, if the link takes it; else see that it expires."""
        if self._link.state is LinkState.UP:
            while self._waiting:
                pending = self._waiting.popleft()
                pending.outcome = self._broker.publish(pending.out)
                self._unconfirmed.append(pending)
            self.confirm()
        if (self._waiting or self._unconfirmed) and (self._expiry is None or self._expiry.done()):
            self._expiry = asyncio.create_task(self._expire(), name="memory publisher expiry")

    def confirm(self) -> None:
        """Tell the outcomes the broker does not hold back."""
        loop = asyncio.get_running_loop()
        while self._unconfirmed and not self._broker.holding_confirms:
            pending = self._unconfirmed.popleft()
            outcome = pending.outcome or PublishOutcome.UNKNOWN
            if self._rng.random() < 0.5:  # noqa: PLR2004 - a coin: outcome first, or delivery first
                tell(pending, outcome)
            else:
                loop.call_soon(loop.call_soon, tell, pending, outcome)

    def lose(self) -> None:
        """The session is lost: what was under way is perhaps stored, what waits goes on waiting."""
        for pending in self._unconfirmed:
            tell(pending, PublishOutcome.UNKNOWN)
        self._unconfirmed.clear()

    async def _expire(self) -> None:
        while held := [*self._unconfirmed, *self._waiting]:
            await self._clock.sleep(held[0].deadline - self._clock.monotonic())
            now = self._clock.monotonic()
            for queue in (self._unconfirmed, self._waiting):
                while queue and queue[0].deadline <= now:
                    tell(queue.popleft(), PublishOutcome.UNKNOWN)


def tell(pending: Pending, outcome: PublishOutcome) -> None:
    """Resolve the future unless its caller has given it up."""
    if not pending.future.done():
        pending.future.set_result(outcome)
