"""Actor: takes what has gathered on a queue, hands it to the handler of its type, settles the batch.

What happens when a handler raises is decided by the error's class alone: TransientError gives
the batch back after a backoff; anything else is poison or a bug of ours, so the batch is halved
until the one element that cannot be handled is found, which goes to the dead letters alone with
the reason. A delivery is acked when all of its elements are dealt with. What was delivered before
may have ended its reader, and is taken in hand alone.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import structlog

from actors.suspects import CRASHES, Suspects, reason
from scheduler.clock import Clock
from scheduler.crash import CRASH_AT, crash_point
from scheduler.dead_letter import dead_letter, element_letter
from scheduler.errors import SessionLostError, TransientError
from scheduler.ports import Consumer, Delivery, Out, Publisher, PublishOutcome, Transport
from scheduler.service import Service
from schemas.message import Message
from schemas.registry import UnreadableError, dump, parse, split

log: structlog.stdlib.BoundLogger = structlog.get_logger()

BatchHandler = Callable[[Sequence[Any]], Awaitable[None]]

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
        self.suspects: Suspects | None = None
        """Who counts over which messages readers end; None: nobody does, as when a broker ends with its readers."""
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
        """Settle what comes for the first time together, and then each delivery that was in hand before."""
        if self.suspects is None:
            await self._settle_together(consumer, batch)
            return
        fresh = [delivery for delivery in batch if not delivery.redelivered]
        again = [delivery for delivery in batch if delivery.redelivered]
        well = not fresh or await self._settle_together(consumer, fresh)
        for at, delivery in enumerate(again):
            if not well:
                await consumer.release(again[at:])
                return
            well = await self._settle_alone(self.suspects, consumer, delivery)

    async def _settle_alone(self, suspects: Suspects, consumer: Consumer, delivery: Delivery) -> bool:
        """Settle a delivery that was in hand before; False when it was given back."""
        try:
            async with suspects.in_hand(delivery) as crashes:
                if crashes >= CRASHES:
                    await self._bury(consumer, delivery, reason(crashes))
                    return True
                elements = self.elements_of(delivery) if crashes else ()
                if len(elements) <= 1:
                    return await self._settle_together(consumer, [delivery])
                deal = partial(self._deal, delivery)
                await suspects.one_by_one(delivery, elements, deal, self._bury_element)
                await consumer.ack([delivery])
                return True
        except TransientError as error:
            await self._retry(consumer, [delivery], error)
            return False

    async def _deal(self, delivery: Delivery, element: Any) -> None:
        item = await self._read_element(delivery, element, self.handlers())
        if item is not None:
            await self._handle(type(item.message), [item])

    async def _retry(self, consumer: Consumer, batch: Sequence[Delivery], error: TransientError) -> None:
        log.warning("batch.retried", actor=self.name, size=len(batch), error=str(error))
        await self.clock.sleep(_RETRY_PAUSE_S)
        await consumer.release(batch)

    async def _settle_together(self, consumer: Consumer, batch: Sequence[Delivery]) -> bool:
        """Settle a batch; False when it was given back."""
        try:
            items, buried = await self._read(consumer, batch)
            for kind, group in _by_type(items):
                for at in range(0, len(group), BATCH_ELEMENTS):
                    await self._handle(kind, group[at : at + BATCH_ELEMENTS])
        except TransientError as error:
            await self._retry(consumer, batch, error)
            return False
        done = [delivery for delivery in batch if id(delivery) not in buried]
        if done:
            await consumer.ack(done)
            crash_point("actor.after_ack", done[0].queue)
        return True

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
                elements = self.elements(delivery)
            except UnreadableError as error:
                await self._bury(consumer, delivery, str(error))
                buried.add(id(delivery))
                continue
            for element in elements:
                try:
                    items.append(self._item(delivery, element, table))
                except UnreadableError as error:
                    await self._bury_element(delivery, element, str(error))
        return items, buried

    async def _read_element(self, delivery: Delivery, element: Any, hears: Container[type[Message]]) -> Item | None:
        """Return what an element says; None when it cannot be read, and is buried."""
        try:
            return self._item(delivery, element, hears)
        except UnreadableError as error:
            await self._bury_element(delivery, element, str(error))
            return None

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

    async def _bury(self, consumer: Consumer, delivery: Delivery, why: str) -> None:
        log.warning("message.buried", actor=self.name, queue=delivery.queue, reason=why)
        await consumer.bury([delivery], why)

    async def _bury_element(self, delivery: Delivery, element: Any, reason: str) -> None:
        log.warning("message.buried", actor=self.name, queue=delivery.queue, reason=reason)
        whole = element is delivery
        await self.put_away(dead_letter(delivery, reason) if whole else element_letter(delivery, element, reason))

    async def put_away(self, letter: Out) -> None:
        """Publish a dead letter; it is stored when this returns."""
        if self._publisher is None:
            raise SessionLostError(f"{self.name} is stopped")
        if await self._publisher.publish(letter) is not PublishOutcome.STORED:
            raise SessionLostError("the dead letter was not confirmed")

    def elements(self, delivery: Delivery) -> Sequence[Any]:
        """Return what is handled apart of a body. A delivery that stands for itself is its only element.

        Raises:
            UnreadableError: it cannot be read.
        """
        return split(delivery.body)

    def understand(self, element: Any) -> Message:
        """Return what an element says.

        Raises:
            UnreadableError: it cannot be read.
        """
        return parse(element)

    def elements_of(self, delivery: Delivery) -> Sequence[Any]:
        """Return the elements of a body; none when it cannot be read."""
        try:
            return self.elements(delivery)
        except UnreadableError:
            return ()

    def _item(self, delivery: Delivery, element: Any, hears: Container[type[Message]]) -> Item:
        if CRASH_AT:
            crash_point("actor.reading", str(element.get("tenant")) if isinstance(element, dict) else "")
        message = self.understand(element)
        if type(message) not in hears:
            raise UnreadableError(f"{message.type} does not belong on {delivery.queue}")
        return Item(delivery, element, message)


def _by_type(items: Iterable[Item]) -> list[tuple[type[Message], list[Item]]]:
    groups: dict[type[Message], list[Item]] = {}
    for item in items:
        groups.setdefault(type(item.message), []).append(item)
    return list(groups.items())
