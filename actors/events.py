"""The Dispatcher's desk for events: records what publishers send, and has every event decided."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final
from uuid import UUID

import structlog

from actors.base import Actor
from actors.offers import OfferDesk
from scheduler.clock import Clock
from scheduler.crash import crash_point
from scheduler.dead_letter import dead_letter
from scheduler.domain.published import OPERATOR, Published, RawMessage, read_published
from scheduler.errors import SessionLostError
from scheduler.ids import uuid7
from scheduler.ports import Consumer, Delivery, PublishOutcome, Transport
from scheduler.store.event_deciding import EventDeciding
from scheduler.store.events import (
    NewEvent,
    find_contents,
    find_undecided,
    list_known_tenants,
    name_events,
    postpone_event,
    record_events,
)
from scheduler.store.stores import Store, Stores
from scheduler.store.sweeping import spare
from schemas.facts import CarriedEvent, EventReceived
from schemas.message import Message
from schemas.registry import MAX_BODY_BYTES, dump
from schemas.vocabulary import EventSource

if TYPE_CHECKING:
    from scheduler.store.pool import Connection

log: structlog.stdlib.BoundLogger = structlog.get_logger()

DISPATCHER_EVENTS: Final = "scheduler.dispatcher.events"
FIRINGS: Final = "scheduler.firings"
"""The exchange of our own messages."""
_SWEEP_BATCH: Final = 500


class EventPublished(Message):
    """What a publisher sent: no message of ours, and never written as one."""

    type: ClassVar[str] = "event.published"

    delivery: Any
    said: Any
    """A Published."""
    place: int = 0
    """How many redeliveries of the same content were taken before it, in one batch."""


class PublisherListener(Actor):
    """An actor that hears of events, and messages of strangers, each of which it takes as an EventPublished.

    A message without an id is known by its content when it is redelivered. Of several with the same
    content, taken together, as many are known as were recorded: so they are numbered.
    """

    def __init__(self, name: str, stores: Stores, transport: Transport, clock: Clock, rng: random.Random) -> None:
        super().__init__(name, transport, clock, rng)
        self._stores = stores
        self._events: dict[str, EventDesk] = {}
        """By the name of the store."""
        self._places: dict[int, int] = {}

    async def on_events(self, facts: Sequence[EventReceived]) -> None:
        """Decide each event once; a repeated one finds its verdict given."""
        for store, batch in self._stores.sort(facts):
            await self._events[store.name].receive(batch)

    async def on_published(self, sent: Sequence[EventPublished]) -> None:
        """Record and decide what publishers send."""
        for store, batch in self._stores.sort(sent):
            await self._events[store.name].record(batch)

    def elements(self, delivery: Delivery) -> Sequence[Any]:
        return [delivery] if _is_foreign(delivery) else super().elements(delivery)

    def understand(self, element: Any) -> Message:
        if not isinstance(element, Delivery):
            return super().understand(element)
        raw = RawMessage(
            exchange=element.exchange,
            key=element.key,
            body=element.body,
            content_type=element.content_type,
            message_id=element.message_id,
            sender=element.sender,
            headers=element.headers,
        )
        said = read_published(raw)
        place = self._places.get(id(element), 0)
        return EventPublished.model_construct(tenant=said.tenant, delivery=element, said=said, place=place)

    async def _settle(self, consumer: Consumer, batch: Sequence[Delivery]) -> None:
        if batch[0].queue == DISPATCHER_EVENTS:
            self._number(delivery for delivery in batch if delivery.redelivered and _is_foreign(delivery))
        await super()._settle(consumer, batch)

    def _number(self, again: Iterable[Delivery]) -> None:
        seen: Counter[tuple[str, bytes]] = Counter()
        self._places = {}
        for delivery in again:
            self._places[id(delivery)] = seen[delivery.key, delivery.body]
            seen[delivery.key, delivery.body] += 1


def _is_foreign(delivery: Delivery) -> bool:
    return delivery.queue == DISPATCHER_EVENTS and delivery.exchange != FIRINGS


class EventDesk:
    """Events of one store."""

    def __init__(self, actor: Actor, store: Store, deciding: EventDeciding, offers: OfferDesk) -> None:
        self._actor = actor
        self._store = store
        self._deciding = deciding
        self._offers = offers

    async def record(self, sent: Sequence[EventPublished]) -> None:
        """Record what was sent, bury what is no event, and decide the rest.

        The messages are the only copies: they may be acked when this returns. What cannot be decided
        is left to the sweep.
        """
        invalid: list[tuple[Delivery, str]] = []
        async with self._store.transaction() as db:
            events, elsewhere = await self._new_events(db, sent, invalid)
            recorded = await record_events(db, events, hinted=True)
            named = await name_events(db, elsewhere) if elsewhere else []
            crash_point("dispatcher.before_events_recorded")
        crash_point("dispatcher.after_events_recorded")
        await asyncio.gather(*[self._actor.put_away(dead_letter(delivery, why)) for delivery, why in invalid])
        await asyncio.gather(*map(self._hand_on, elsewhere, named))
        made = zip(events, recorded, strict=True)
        fresh = [row.event_id for event, row in made if not row.duplicate and event.problem is None]
        log.info("events.recorded", store=self._store.name, events=len(sent), fresh=len(fresh), invalid=len(invalid))
        await self.decide_sparing(fresh)

    async def _hand_on(self, event: NewEvent, event_id: UUID) -> None:
        """Have the Dispatchers of the tenant's own database record an event; repeated, it is the same one there."""
        event = replace(event, id=event_id)
        fact = event.carried()
        if (size := len(dump([fact]))) > MAX_BODY_BYTES:
            why = f"with what belongs to it, it has {size} bytes; a database of its own gets at most {MAX_BODY_BYTES}"
            fact = replace(event, data=None, headers=None, problem=why).carried()
        if await self._actor.say(FIRINGS, f"{EventReceived.type}.{event.tenant}", [fact]) != [PublishOutcome.STORED]:
            raise SessionLostError("the broker did not confirm an event that is for another database")

    async def receive(self, facts: Sequence[EventReceived]) -> None:
        """Decide events, after those are recorded whose messages are their only copies."""
        carried = [_carried(fact, fact.event) for fact in facts if fact.event is not None]
        if carried:
            async with self._store.transaction() as db:
                recorded = await record_events(db, carried, hinted=True)
            fresh = sum(not row.duplicate for row in recorded)
            log.info("events.recorded", store=self._store.name, events=len(carried), fresh=fresh, invalid=0)
        await self.decide([fact.event_id for fact in facts])

    async def decide(self, event_ids: Sequence[UUID]) -> None:
        """Decide events, and offer the runs they start; those that have a verdict keep it."""
        async with self._store.transaction(flush=False) as db:
            decided = await self._deciding.decide(db, event_ids, self._offers.pace)
            crash_point("dispatcher.before_event_commit")
        crash_point("dispatcher.after_event_commit")
        for pool, filled in decided.firings.filled.items():
            await self._offers.publish(pool, filled)
        decided.firings.said.say(self._actor.clock.now())
        if decided.verdicts:
            counts = {str(verdict): count for verdict, count in decided.verdicts.items()}
            log.info("events.decided", store=self._store.name, **counts)
        await self._offers.fill(decided.firings.left)
        await self.decide_sparing(decided.complete)

    async def decide_owed(self) -> None:
        """Decide the events whose message is overdue."""
        while found := await find_undecided(self._store, _SWEEP_BATCH):
            await self.decide_sparing(found)
            if len(found) < _SWEEP_BATCH:
                return

    async def decide_sparing(self, event_ids: Sequence[UUID]) -> None:
        """Decide events; those that cannot be decided are left to the sweep."""
        if event_ids:
            await spare(event_ids, self.decide, partial(postpone_event, self._store))

    async def _new_events(
        self, db: "Connection", sent: Sequence[EventPublished], invalid: list[tuple[Delivery, str]]
    ) -> tuple[list[NewEvent], list[NewEvent]]:
        """Return what is to be recorded here, and what elsewhere; adds what is to be buried.

        Redeliveries that are recorded here already are left out; for elsewhere they have their id again.
        """
        known = await list_known_tenants(db, sorted({one.tenant for one in sent}))
        found: list[NewEvent] = []
        elsewhere: list[NewEvent] = []
        # Sorted: of one millisecond they have no order, and their publisher has sent them in this one.
        for one, fresh in zip(sent, sorted(uuid7(self._actor.clock) for _ in sent), strict=True):
            said: Published = one.said
            if said.tenant not in known and said.tenant != OPERATOR:
                said = said.for_nobody(f"there is no tenant {said.tenant}")
            elif (home := known.get(said.tenant)) is not None and home.broker is not None:
                said = said.for_nobody(f"tenant {said.tenant} has a vhost of its own")
            if said.problem is not None:
                invalid.append((one.delivery, said.problem))
            content, apart, event_id = f"content:{said.content}", known.get(said.tenant) is not None, fresh
            if said.key is None and one.delivery.redelivered:
                there = await find_contents(db, said.tenant, EventSource.AMQP, content)
                if len(there) > one.place:
                    if not apart:
                        continue
                    event_id = there[one.place]
            (elsewhere if apart else found).append(_new_event(said, content, event_id))
        return found, elsewhere


def _new_event(said: Published, content: str, event_id: UUID) -> NewEvent:
    return NewEvent(
        id=event_id,
        tenant=said.tenant,
        source=EventSource.AMQP,
        topic=said.topic,
        data=said.data,
        key=said.key or f"{content}:{event_id}",
        sender_id=said.sender_id,
        subject=said.subject,
        headers=said.headers or None,
        occurred_at=said.occurred_at,
        problem=said.problem,
    )


def _carried(fact: EventReceived, event: CarriedEvent) -> NewEvent:
    return NewEvent(
        id=fact.event_id,
        tenant=fact.tenant,
        source=event.source,
        topic=event.topic,
        data=event.data,
        key=event.key,
        sender_id=event.sender_id,
        subject=event.subject,
        headers=event.headers or None,
        occurred_at=event.occurred_at,
        problem=event.problem,
    )
