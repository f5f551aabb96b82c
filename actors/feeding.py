"""Publishes the feed: facts in their order, each until the broker has it, from where the last one stopped.

Part of the Dispatcher, which turns rows into messages anyway. Whoever of several has the turn
publishes; one that is killed loses nothing, and its last facts come again with the same ids.

While nobody has bound a queue, facts are not published one by one: once in a second one message
asks for all their routing keys whether a queue would take any. It comes back, and they are passed
over, as they happened before there was such a queue; or it is the first thing that queue hears.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

import structlog

from scheduler.clock import Clock
from scheduler.crash import crash_point
from scheduler.ports import LinkState, Out, Publisher, PublishOutcome, Transport
from scheduler.store.feed import Fact, Position, move_on, prune_feed, read_facts, read_keys, take_turn
from scheduler.store.stores import Store
from schemas.feed import CONTENT_TYPE, feed_begins

if TYPE_CHECKING:
    from scheduler.store.pool import Connection

log: structlog.stdlib.BoundLogger = structlog.get_logger()

FEED: Final = "scheduler.feed"
BEGINS: Final = "scheduler.feed.begins"
_FACTS: Final = 500
_KEYS_ASKED: Final = 600
"""Each has at most 160 bytes: two names of 63 and the longest fact."""
_HEARD_PAUSE_S: Final = 0.2
_UNHEARD_PAUSE_S: Final = 1.0
_PRUNE_EVERY_S: Final = 60.0
_REFUSALS: Final = 3
"""A queue that is full and says no must not keep the feed from all the others for longer than so many tries."""


class Feeding:
    """Publishes the feed of one store, in turns with others that do."""

    def __init__(
        self, store: Store, transport: Transport, clock: Clock, retention_s: float, on_well: Callable[[], None]
    ) -> None:
        self._store = store
        self._transport = transport
        self._clock = clock
        self._retention_s = retention_s
        self._on_well = on_well
        self._heard = False
        self._refusals = 0
        self._prune_at = clock.monotonic()

    async def publish_for_ever(self) -> None:
        publisher = await self._transport.publisher("feed")
        try:
            while True:
                more = self._transport.state is LinkState.UP and await self.publish_once(publisher)
                self._on_well()
                await self._prune()
                if not more:
                    await self._clock.sleep(_HEARD_PAUSE_S if self._heard else _UNHEARD_PAUSE_S)
        finally:
            await publisher.close()

    async def publish_once(self, publisher: Publisher) -> bool:
        """Publish what follows, if it is our turn; return whether there is more."""
        async with self._store.transaction(flush=False) as db:
            position = await take_turn(db)
            if position is None:
                return False
            reached, more = await (self._publish(db, publisher, position) if self._heard
                                   else self._ask(db, publisher, position))  # fmt: skip
            if reached != position:
                await move_on(db, reached)
                crash_point("feed.before_commit")
        if reached != position:
            crash_point("feed.after_commit")
        return more

    async def _ask(self, db: "Connection", publisher: Publisher, position: Position) -> tuple[Position, bool]:
        """Ask whether anybody hears the next facts; if not, they are passed over."""
        keys, end, more = await read_keys(db, position)
        messages = [_question(position, part) for part in _parts(keys)]
        outcomes = await asyncio.gather(*[publisher.publish(message) for message in messages])
        if PublishOutcome.UNKNOWN in outcomes:
            return position, False
        self._heard = any(outcome is not PublishOutcome.UNROUTABLE for outcome in outcomes)
        return (position, True) if self._heard else (end, more)

    async def _publish(self, db: "Connection", publisher: Publisher, position: Position) -> tuple[Position, bool]:
        facts, more = await read_facts(db, position, _FACTS)
        if not facts:
            return position, False
        crash_point("feed.before_publish")
        outcomes = await _say(publisher, facts)
        crash_point("feed.after_confirm")
        taken = self._taken(facts, outcomes)
        self._heard = any(outcome is not PublishOutcome.UNROUTABLE for outcome in outcomes)
        return (facts[taken - 1].at if taken else position), more and taken == len(facts)

    def _taken(self, facts: Sequence[Fact], outcomes: Sequence[PublishOutcome]) -> int:
        """Return how many facts, from the first one on, need not be said again."""
        refused = [fact for fact, outcome in zip(facts, outcomes, strict=True) if outcome is PublishOutcome.REFUSED]
        patient = bool(refused) and self._refusals < _REFUSALS
        self._refusals = self._refusals + 1 if patient else 0
        if refused and not patient:
            log.warning("feed.refused", keys=dict(Counter(fact.key for fact in refused).most_common(5)))
        again = {PublishOutcome.UNKNOWN, *([PublishOutcome.REFUSED] if patient else ())}
        return next((at for at, outcome in enumerate(outcomes) if outcome in again), len(facts))

    async def _prune(self) -> None:
        now = self._clock.monotonic()
        if now >= self._prune_at:
            self._prune_at = now + _PRUNE_EVERY_S
            await prune_feed(self._store, self._retention_s)


async def _say(publisher: Publisher, facts: Sequence[Fact]) -> list[PublishOutcome]:
    return list(await asyncio.gather(*[publisher.publish(_message(fact)) for fact in facts]))


def _message(fact: Fact) -> Out:
    body = fact.event.model_dump_json().encode()
    return Out(FEED, fact.key, body, message_id=fact.event.id, content_type=CONTENT_TYPE, mandatory=True)


def _question(position: Position, keys: Sequence[str]) -> Out:
    event = feed_begins(str(position))
    body = event.model_dump_json(exclude_none=True).encode()
    headers = {"BCC": list(keys)}  # RabbitMQ routes by these keys as well, and takes the header off
    return Out(FEED, BEGINS, body, event.id, headers, content_type=CONTENT_TYPE, mandatory=True)


def _parts(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    """Cut so that each part fits into the header of a message: one frame."""
    return (keys[at : at + _KEYS_ASKED] for at in range(0, len(keys), _KEYS_ASKED))
