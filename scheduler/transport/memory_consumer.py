"""The way in of a transport on ``memory://``."""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import cast

from scheduler.dead_letter import dead_letter
from scheduler.errors import SessionLostError
from scheduler.ports import Delivery, PublishOutcome
from scheduler.transport.memory_broker import MemoryBroker, MemoryQueue, Stored


class MemoryConsumer:
    """Deliveries of one queue, at most ``credit`` of them unsettled."""

    def __init__(self, broker: MemoryBroker, queue: str, credit: int, rng: random.Random) -> None:
        self.queue = queue
        self._broker = broker
        self._rng = rng
        self._credit = credit
        self._source: MemoryQueue | None = None
        self._epoch = 0
        self._tag = 0
        self._unsettled: dict[int, Stored] = {}
        self._gathered: deque[Delivery] = deque()
        self._news = asyncio.Event()
        self._lost: str | None = None
        self._closed = False
        self.on_closed: Callable[[], object] = lambda: None
        self.on_source_gone: Callable[[str], None] = self.detach

    @property
    def has_room(self) -> bool:
        return len(self._unsettled) < self._credit

    def receive(self, stored: Stored) -> None:
        self._tag += 1
        self._unsettled[self._tag] = stored
        out = stored.out
        self._gathered.append(
            Delivery(
                queue=self.queue,
                exchange=out.exchange,
                key=out.key,
                body=out.body,
                message_id=out.message_id,
                headers=dict(out.headers),
                redelivered=stored.redelivered,
                content_type=out.content_type,
                sender=None,
                token=(self._epoch, self._tag),
            )
        )
        self._news.set()

    async def take(self, limit: int) -> list[Delivery]:
        while True:
            if self._closed:
                return []
            if self._lost is not None:
                reason, self._lost = self._lost, None
                raise SessionLostError(reason)
            if self._gathered:
                return [self._gathered.popleft() for _ in range(min(limit, len(self._gathered)))]
            self._news.clear()
            await self._news.wait()

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        self._settle(deliveries)

    async def release(self, deliveries: Sequence[Delivery]) -> None:
        self._put_back(self._settle(deliveries))

    async def bury(self, deliveries: Sequence[Delivery], reason: str) -> None:
        for delivery in deliveries:
            if not self._holds(delivery):
                continue
            copied = self._broker.publish(dead_letter(delivery, reason))
            await (self.ack if copied is PublishOutcome.STORED else self.release)([delivery])

    async def set_credit(self, credit: int) -> None:
        self._credit = credit
        excess: list[Delivery] = []
        while self._gathered and len(self._unsettled) - len(excess) > credit:
            excess.append(self._gathered.pop())
        await self.release(excess)
        self._ask()

    async def close(self) -> None:
        self._closed = True
        self._news.set()
        self.detach()
        self.on_closed()

    def attach(self, source: MemoryQueue) -> None:
        """Begin to consume in a new session."""
        self._source = source
        source.receivers.append(self)
        self._ask()

    def source_gone(self, reason: str) -> None:
        self.on_source_gone(reason)

    def detach(self, lost: str | None = None) -> None:
        """End the session: what is unsettled goes back; ``lost`` is why, unless we wanted it."""
        if self._source is None:
            return
        self._source.receivers.remove(self)
        unsettled = list(self._unsettled.values())
        self._unsettled.clear()
        self._gathered.clear()
        self._put_back(unsettled)
        self._source = None
        self._epoch += 1
        self._tag = 0
        if lost is not None:
            self._lost = lost
            self._news.set()

    def _ask(self) -> None:
        if self._source is not None:
            self._broker.deliver_soon(self._source.name)

    def _holds(self, delivery: Delivery) -> bool:
        epoch, tag = cast("tuple[int, int]", delivery.token)
        return epoch == self._epoch and tag in self._unsettled

    def _settle(self, deliveries: Sequence[Delivery]) -> list[Stored]:
        """Return what is settled now; not what was before, nor what a lost session delivered."""
        settled = [
            self._unsettled.pop(cast("tuple[int, int]", delivery.token)[1])
            for delivery in deliveries
            if self._holds(delivery)
        ]
        if settled:
            self._ask()
        return settled

    def _put_back(self, unsettled: Sequence[Stored]) -> None:
        if self._source is None:
            return
        # Where it comes in again is drawn, because no order is promised after a release.
        first = self._rng.random() < 0.5  # noqa: PLR2004 - a coin
        for stored in reversed(unsettled) if first else unsettled:
            self._source.put_back(stored, first=first)
        self._ask()
