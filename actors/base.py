"""Actor: takes what has gathered on a queue, hands it to the handler of its type, settles the batch.

What happens when a handler raises is decided by the error's class alone: TransientError gives
the batch back after a backoff; anything else is poison or a bug of ours, so the batch is halved
until the one element that cannot be handled is found, which goes to the dead letters alone with
the reason. A delivery is acked when all of its elements are dealt with.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
from pydantic_core import to_json

from scheduler.clock import Clock
from scheduler.crash import crash_point
from scheduler.errors import SessionLostError, TransientError
from scheduler.ports import Consumer, Delivery, Headers, Out, Publisher, PublishOutcome, Transport
from scheduler.service import Service
from schemas.message import Message
from schemas.registry import UnreadableError, dump, parse, split

log: structlog.stdlib.BoundLogger = structlog.get_logger()

BatchHandler = Callable[[Sequence[Any]], Awaitable[None]]

DEAD_LETTERS: Final = "scheduler.dead-letters"
BATCH_DELIVERIES: Final = 100
"""Deliveries taken at once; a delivery may hold many elements."""
BATCH_ELEMENTS: Final = 500
"""Elements handled in one transaction: more would not be cheaper each, and keep the first ones waiting."""
CREDIT: Final = 300
"""Unsettled deliveries a consumer may hold: what runs, and enough in hand to never wait for the broker."""
LIST_ELEMENTS: Final = 200
"""Elements put into one body: a list must stay far below the frame of 128 KiB."""
_RETRY_PAUSE_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Item:
    """One element of a body, where it came from, and what it says."""

    delivery: Delivery
    element: Any
    message: Message


class Actor(Service):
    """A service that hears queues. Subclasses give ``queues`` and ``handlers`` and say what follows."""

    queues: tuple[str, ...] = ()

    def __init__(self, name: str, transport: Transport, clock: Clock, rng: random.Random) -> None:
        super().__init__(name, clock, rng)
        self.transport = transport
        self._publisher: Publisher | None = None
        self._consumers: dict[str, Consumer] = {}
        self._idle: dict[str, asyncio.Event] = {}

    def handlers(self) -> Mapping[type[Message], BatchHandler]:
        """Return the dispatch table: what this actor hears, and which method takes a list of it."""
        return {}

    async def start(self) -> None:
        self._publisher = await self.transport.publisher(self.name)
        for queue in self.queues:
            self.keep(queue, lambda queue=queue: self._hear(queue))  # type: ignore[misc]

    async def drain(self) -> None:
        self.draining = True
        await asyncio.gather(*(idle.wait() for idle in self._idle.values()))
        await self.stop()

    async def stop(self) -> None:
        await super().stop()
        for consumer in self._consumers.values():
            await consumer.close()
        self._consumers.clear()
        if self._publisher is not None:
            await self._publisher.close()
            self._publisher = None

    async def say(self, exchange: str, key: str, messages: Sequence[Message], **options: Any) -> list[PublishOutcome]:
        """Publish ``messages`` as lists under ``key`` and wait for the broker's word on each body.

        The outcomes are per body of LIST_ELEMENTS elements, in order.
        """
        return list(await asyncio.gather(*self.post(exchange, key, messages, **options)))

    def post(
        self,
        exchange: str,
        key: str,
        messages: Sequence[Message],
        *,
        persistent: bool = True,
        size: int = LIST_ELEMENTS,
    ) -> list["asyncio.Future[PublishOutcome]"]:
        """Publish without waiting; one future for each body of at most ``size`` elements."""
        if self._publisher is None:
            raise SessionLostError(f"{self.name} is stopped")
        return [
            self._publisher.publish(Out(exchange, key, dump(messages[at : at + size]), persistent=persistent))
            for at in range(0, len(messages), size)
        ]

    async def _hear(self, queue: str) -> None:
        idle = self._idle.setdefault(queue, asyncio.Event())
        idle.set()
        consumer = self._consumers.get(queue)
        if consumer is None:
            consumer = await self.transport.consumer(queue, credit=CREDIT, name=self.name)
            self._consumers[queue] = consumer
        self.well(queue)
        while not self.draining:
            try:
                batch = await consumer.take(BATCH_DELIVERIES)
            except SessionLostError:
                continue  # what was in hand comes again
            if not batch:
                return
            if await self._turned_away(consumer, batch):
                return
            idle.clear()
            try:
                await self._settle(consumer, batch)
            finally:
                idle.set()

    async def _turned_away(self, consumer: Consumer, batch: Sequence[Delivery]) -> bool:
        """Give a batch back that came after the drain began: it would be cut in the middle."""
        if self.draining:
            await consumer.release(batch)
        return self.draining

    async def _settle(self, consumer: Consumer, batch: Sequence[Delivery]) -> None:
        try:
            items, buried = await self._read(consumer, batch)
            for kind, group in _by_type(items):
                for at in range(0, len(group), BATCH_ELEMENTS):
                    await self._handle(kind, group[at : at + BATCH_ELEMENTS])
        except TransientError as error:
            log.warning("batch.retried", actor=self.name, size=len(batch), error=str(error))
            await self.clock.sleep(_RETRY_PAUSE_S)
            await consumer.release(batch)
            return
        done = [delivery for delivery in batch if id(delivery) not in buried]
        if done:
            await consumer.ack(done)
            crash_point("actor.after_ack", done[0].queue)

    async def _read(
        self, consumer: Consumer, batch: Sequence[Delivery], hears: Container[type[Message]] | None = None
    ) -> tuple[list[Item], set[int]]:
        """Return the readable elements; unreadable ones are buried, whole bodies with their delivery.

        ``hears`` names the types that belong on the queue; None: all that have a handler.
        """
        items: list[Item] = []
        buried: set[int] = set()
        table = self.handlers() if hears is None else hears
        for delivery in batch:
            try:
                elements = split(delivery.body)
            except UnreadableError as error:
                await consumer.bury([delivery], str(error))
                buried.add(id(delivery))
                continue
            for element in elements:
                try:
                    message = parse(element)
                    if type(message) not in table:
                        raise UnreadableError(f"{message.type} does not belong on {delivery.queue}")
                except UnreadableError as error:
                    await self._bury_element(delivery, element, str(error))
                else:
                    items.append(Item(delivery, element, message))
        return items, buried

    async def _handle(self, kind: type[Message], items: Sequence[Item]) -> None:
        """Hand a batch of one type to its handler; find and bury the element it cannot handle."""
        try:
            await self.handlers()[kind]([item.message for item in items])
        except TransientError:
            raise
        except Exception as error:
            if len(items) > 1:
                middle = len(items) // 2
                await self._handle(kind, items[:middle])
                await self._handle(kind, items[middle:])
            else:
                log.exception("message.buried", actor=self.name, type=kind.type)
                await self._bury_element(items[0].delivery, items[0].element, f"{type(error).__name__}: {error}")

    async def _bury_element(self, delivery: Delivery, element: Any, reason: str) -> None:
        log.warning("message.buried", actor=self.name, queue=delivery.queue, reason=reason)
        headers: Headers = {"x-reason": reason[:1000], "x-origin-queue": delivery.queue}
        if self._publisher is None:
            raise SessionLostError(f"{self.name} is stopped")
        body = to_json(element, inf_nan_mode="constants")
        outcome = await self._publisher.publish(Out(DEAD_LETTERS, delivery.queue, body, headers=headers))
        if outcome is not PublishOutcome.STORED:
            raise SessionLostError("the dead letter was not confirmed")


def _by_type(items: Iterable[Item]) -> list[tuple[type[Message], list[Item]]]:
    groups: dict[type[Message], list[Item]] = {}
    for item in items:
        groups.setdefault(type(item.message), []).append(item)
    return list(groups.items())
