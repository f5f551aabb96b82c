"""Dispatcher: gives every firing its verdict, moves flows along the DAG, and offers what is ready.

Hears   firing.due, event.received, run.settled, and what publishers send
Says    attempt.start, attempt.cancel, attempt.follow, the feed
Writes  events, firings (verdicts), flows, runs, run edges, conditions, dispatchers

Messages are hints: the same work is found in the rows by the sweep, every second.
"""

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final
from uuid import UUID

import structlog

from actors.base import BatchHandler
from actors.events import EventDesk, EventPublished, PublisherListener
from actors.feeding import Feeding
from actors.forgotten import SWEEP_BATCH, decide_forgotten
from actors.happenings import LOOK_S, HappeningDesk, Outside
from actors.offers import OfferDesk
from actors.steps import StepDesk
from scheduler import run_lines
from scheduler.clock import Clock
from scheduler.crash import crash_point
from scheduler.errors import TransientError
from scheduler.ids import uuid7
from scheduler.ports import Transport
from scheduler.store.catalogue import Catalogue
from scheduler.store.deciding import Decided, Deciding
from scheduler.store.doorbell import CANCEL, DEFINITIONS, EXECUTORS, FOLLOW, WORK, Doorbell
from scheduler.store.event_deciding import EventDeciding
from scheduler.store.offering import Offering
from scheduler.store.quotas import measure_storage
from scheduler.store.stores import Store, Stores
from scheduler.store.sweeping import (
    Owed,
    find_cancels,
    find_owed,
)
from scheduler.store.telling import find_followed
from schemas.facts import EventReceived, FiringDue, HeartbeatRecorded, RunSettled
from schemas.message import Message
from schemas.vocabulary import RunState

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_LONGEST_LEAD: Final = timedelta(milliseconds=100)
"""Tickers write firings down shortly before their instant; a firing that seems further off has another clock."""
_MEASURE_S: Final = 60.0
_AHEAD: Final = timedelta(milliseconds=10)
"""So long before its instant a firing that starts is decided, so that an executor has been granted it by then."""
_FINAL = {RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED, RunState.SKIPPED}


@dataclass(frozen=True, slots=True)
class DispatchSettings:
    sweep_interval_s: float = 1.0
    """How long something owed may lie when its message is lost."""
    resend_s: float = 30.0
    """An offer not claimed for this long is looked at again."""
    lease_s: float = 30.0
    """An executor not heard of for this long gets no offers counted for it."""
    feed_retention_s: float = 7 * 86_400.0
    """Rows of the feed are kept for this long."""
    data_dir: Path = Path()
    """Where triggers for a full disk look."""
    insecure_database: bool = False
    """Whether databases of tenants may be on other hosts without TLS."""


class Dispatcher(PublisherListener):
    """Decides, advances, offers; each in one transaction, published after it."""

    queues = ("scheduler.dispatcher.firings", "scheduler.dispatcher.events", "scheduler.dispatcher.settled")

    def __init__(
        self, stores: Stores, transport: Transport, clock: Clock, rng: random.Random, settings: DispatchSettings
    ) -> None:
        super().__init__("dispatcher", stores, transport, clock, rng)
        self._settings = settings
        self.on_definitions: Callable[[], Awaitable[None]] | None = None
        """Called when jobs or pools have changed, for who makes the queues of pools in this process."""
        self._desks: dict[str, OfferDesk] = {}
        self._deciding: dict[str, Deciding] = {}
        self._steps: dict[str, StepDesk] = {}
        self._happenings: dict[str, HappeningDesk] = {}
        self._feeds: dict[str, Feeding] = {}
        for store in stores.all():
            catalogue, new_id = Catalogue(), partial(uuid7, clock)
            offering = Offering(catalogue, store.suffix)
            self._deciding[store.name] = Deciding(catalogue, offering, new_id)
            said = partial(self.well, f"feed {store.name}")
            self._feeds[store.name] = Feeding(store, transport, clock, settings.feed_retention_s, said)
            desk = self._desks[store.name] = OfferDesk(self, store, offering, settings.lease_s, settings.resend_s)
            decides = EventDeciding(catalogue, self._deciding[store.name], new_id)
            events = self._events[store.name] = EventDesk(self, store, decides, desk)
            self._steps[store.name] = StepDesk(store, catalogue, desk, events, new_id)
            outside = Outside(settings.lease_s, settings.data_dir, settings.insecure_database)
            self._happenings[store.name] = HappeningDesk(store, decides, events, clock, outside)

    async def start(self) -> None:
        await super().start()
        for store in self._stores.all():
            self.keep(f"sweep {store.name}", partial(self._sweep_for_ever, store))
            self.keep(f"storage {store.name}", partial(self._measure_for_ever, store))
            self.keep(f"feed {store.name}", self._feeds[store.name].publish_for_ever)
            self.keep(f"happenings {store.name}", partial(self._look_for_ever, store))

    async def drain(self) -> None:
        for desk in self._happenings.values():
            await desk.leave()
        await super().drain()

    def handlers(self) -> Mapping[type[Message], BatchHandler]:
        return {FiringDue: self.on_firings, RunSettled: self.on_settled, EventReceived: self.on_events,
                EventPublished: self.on_published}  # fmt: skip

    async def on_firings(self, facts: Sequence[FiringDue]) -> None:
        """Decide each firing once, at its instant; a repeated one finds its verdict given."""
        latest = self.clock.now() + _LONGEST_LEAD  # whatever the clock of the Ticker's machine says
        left = [(min(fact.fires_at, latest) if fact.fires_at else None, fact) for fact in facts]
        while left:
            now = self.clock.now()
            due = [fact for at, fact in left if at is None or at <= now]
            for store, batch in self._stores.sort(due):
                await self._decide(store, [fact.firing_id for fact in batch])
            left = [(at, fact) for at, fact in left if at is not None and at > now]
            if left:
                first = min(at for at, _ in left if at is not None)
                await self._sleep_until(first - _AHEAD)
                for store, batch in self._stores.sort(fact for at, fact in left if at == first):
                    await self._decide_ahead(store, [fact.firing_id for fact in batch])
                await self._sleep_until(first)

    async def _sleep_until(self, instant: datetime) -> None:
        while (left := instant - self.clock.now()) > timedelta(0):  # a loop's timers may be a little early
            await self.clock.sleep(left.total_seconds())

    async def on_settled(self, facts: Sequence[RunSettled]) -> None:
        """Do the DAG step of ended runs, and use the slots that came free."""
        for store, batch in self._stores.sort(facts):
            desk = self._desks[store.name]
            desk.learn(batch)
            pools = {fact.pool for fact in batch}
            ended = {fact.run_id for fact in batch if fact.has_downstream and fact.state in _FINAL}
            if ended:
                await self._steps[store.name].advance(ended, pools)
            else:
                await desk.fill(pools)

    async def _decide(self, store: Store, firing_ids: Sequence[UUID] | None) -> int:
        deciding, desk = self._deciding[store.name], self._desks[store.name]
        async with store.transaction(flush=False) as db:
            if firing_ids is None:
                decided = await deciding.decide_forgotten(db, SWEEP_BATCH)
            else:
                decided = await deciding.decide(db, firing_ids, desk.pace)
            crash_point("dispatcher.before_commit")
        crash_point("dispatcher.after_commit")
        for pool, filled in decided.filled.items():
            await desk.publish(pool, filled)
        if _note(store, decided, self.clock.now()):
            await desk.fill(decided.left)
        return decided.looked_at

    async def _decide_ahead(self, store: Store, firing_ids: Sequence[UUID]) -> None:
        """Decide and offer what starts at an instant, a moment before it; what is left is decided at the instant."""
        deciding, desk = self._deciding[store.name], self._desks[store.name]
        async with store.transaction(flush=False) as db:
            decided = await deciding.decide_ahead(db, firing_ids, desk.pace)
            crash_point("dispatcher.before_commit")
        crash_point("dispatcher.after_commit")
        for pool, filled in decided.filled.items():
            await desk.publish(pool, filled)
        _note(store, decided, self.clock.now())

    async def _sweep_for_ever(self, store: Store) -> None:
        channels = (WORK, CANCEL, FOLLOW, DEFINITIONS, EXECUTORS)
        async with Doorbell(store.dsn, *channels, name="dispatcher bell") as bell:
            rung: list[tuple[str, str]] = [(DEFINITIONS, "")]
            while not self.draining:
                if any(channel == DEFINITIONS for channel, _ in rung):
                    if self.on_definitions is not None:
                        await self.on_definitions()
                    await self._steps[store.name].mind_definitions()
                await self._cancel(store, [payload for channel, payload in rung if channel == CANCEL])
                await self._follow(store, [payload for channel, payload in rung if channel == FOLLOW])
                self._ask([payload for channel, payload in rung if channel == EXECUTORS])
                next_s = await self.sweep(store)
                self.well(f"sweep {store.name}")
                rung = await bell.wait(self.clock, min(next_s, self._settings.sweep_interval_s))

    async def _measure_for_ever(self, store: Store) -> None:
        while not self.draining:
            await measure_storage(store)
            self.well(f"storage {store.name}")
            await self.clock.sleep(_MEASURE_S)

    async def _look_for_ever(self, store: Store) -> None:
        while not self.draining:
            await self._happenings[store.name].look()
            self.well(f"happenings {store.name}")
            await self.clock.sleep(LOOK_S)

    async def sweep(self, store: Store) -> float:
        """Find in the rows what is owed, whatever became of the messages about it; return when to look again.

        A crowd that is due at once is planned ahead, and nobody is told of its firings: they are found here.
        """
        owed, next_s = await find_owed(store)
        failed: list[Exception] = []
        for part in self._parts(store, owed):  # one part that fails must not keep the others from being done
            try:
                await part()
            except TransientError:
                raise
            except Exception as error:  # noqa: BLE001 - raised below, when all have had their turn
                failed.append(error)
        if failed:
            raise failed[0]
        if self._desks[store.name].is_crowded:  # the rest of a crowd, after what else there is to look at
            return 0.0
        return self._settings.sweep_interval_s if next_s is None else next_s

    def _parts(self, store: Store, owed: Owed) -> list[Callable[[], Awaitable[None]]]:
        """Return what is to be done about what is owed."""
        desk, steps = self._desks[store.name], self._steps[store.name]
        parts: list[Callable[[], Awaitable[None]]] = []
        if owed & Owed.FIRINGS or desk.is_crowded:  # another Dispatcher may have decided the rest of the crowd
            parts.append(partial(self._decide_overdue, store))
        if owed & Owed.EVENTS:
            parts.append(self._events[store.name].decide_owed)
        if owed & Owed.RUNS:
            parts += [steps.advance_owed, desk.repeat_unclaimed]
        if owed & Owed.BACKFILLS:
            parts.append(steps.release_due_backfills)
        if owed & Owed.BACKLOG:
            parts.append(desk.fill_backlogs)
        return parts

    async def _decide_overdue(self, store: Store) -> None:
        await decide_forgotten(store, self._desks[store.name], partial(self._decide, store), self.clock)

    async def _cancel(self, store: Store, payloads: Sequence[str]) -> None:
        """Tell executors at once of attempts somebody wants stopped; heartbeats repeat it."""
        if not payloads:
            return
        run_ids = [UUID(payload.split()[-1]) for payload in payloads]
        await self._steps[store.name].advance(run_ids)
        for executor, cancels in (await find_cancels(store, run_ids)).items():
            self.post("scheduler.control", executor, cancels)

    async def _follow(self, store: Store, payloads: Sequence[str]) -> None:
        """Ask executors to tell what attempts write that somebody looks at."""
        if payloads:
            for executor, commands in (await find_followed(store, payloads)).items():
                self.post("scheduler.control", executor, commands, persistent=False)

    def _ask(self, payloads: Sequence[str]) -> None:
        """Ask executors for a heartbeat, whose answer tells what somebody wants of them."""
        for boot_id, _, executor in (payload.partition(" ") for payload in payloads):
            asked = HeartbeatRecorded(tenant="default", boot_id=UUID(boot_id), asks=True)
            self.post("scheduler.control", executor, [asked], persistent=False)


def _note(store: Store, decided: Decided, now: datetime) -> bool:
    """Log what was decided, if anything was."""
    if decided.verdicts:
        decided.said.say(now)
        if not run_lines.wanted("firing.decided"):
            counts = {str(verdict): n for verdict, n in decided.verdicts.items()}
            log.info("firings.decided", store=store.name, **counts)
    return bool(decided.verdicts)
