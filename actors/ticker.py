"""Ticker: turns time into firings. Any number may run; a due trigger is planned by whoever locks it first.

Hears   the clock
Says    firing.due
Writes  firings, triggers, tickers, runs (wakes delays and back-offs), history
"""

import contextlib
import random
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from functools import partial
from typing import Final

import structlog

from actors.base import Actor
from scheduler.clock import Clock
from scheduler.crash import crash_point
from scheduler.domain.retention import RetentionSettings
from scheduler.domain.zones import TZDATA_VERSION
from scheduler.errors import ConfigurationError, TransientError
from scheduler.ids import uuid7
from scheduler.ports import Transport
from scheduler.store.calendars import list_ending
from scheduler.store.doorbell import DEFINITIONS, WAKE, Doorbell
from scheduler.store.missed import say_missed
from scheduler.store.pacing import Pacing
from scheduler.store.planning import Planning
from scheduler.store.retaining import plan_next, retain
from scheduler.store.stores import Store, Stores
from scheduler.store.waking import find_next_tick, wake_runs
from scheduler.store.zone_data import BEAT_S, ZoneData

log: structlog.stdlib.BoundLogger = structlog.get_logger()


_HELD_PAUSE_S = 0.02
_RELEASE_S = 1.0
_WAKE_S: Final = 1.0
_FURTHEST: Final = timedelta(seconds=15)
_HISTORY_LOOK_S = 300.0
_HISTORY_LEAST_S = 2.0


@dataclass(frozen=True, slots=True)
class TickSettings:
    interval_s: float = 5.0
    """The longest sleep: how late a change is seen whose notification was lost."""
    batch_size: int = 1000
    """Triggers planned in one transaction."""
    per_minute: int = 600
    """Missed firings started in a minute, in each store."""
    zone_data: str = TZDATA_VERSION
    """IANA version of the zone data in use."""
    lead_s: float = 0.05
    """So long before its instant a firing is written down, so that only the verdict is left to do then."""
    crowd: int = 2000
    """So many triggers due within 15 seconds are planned further ahead than others, by as long as that takes."""
    plans_per_s: int = 8000
    """What a Ticker plans in a second, on a slow machine."""
    retention: RetentionSettings | None = None
    """By what history is worked on; None: it is not."""


class Ticker(Actor):
    """Sleeps until the next due instant, plans what is due, and says so after the commit."""

    def __init__(
        self, stores: Stores, transport: Transport, clock: Clock, rng: random.Random, settings: TickSettings
    ) -> None:
        super().__init__("ticker", transport, clock, rng)
        self._stores = stores
        self._settings = settings
        self._lead = timedelta(seconds=settings.lead_s)
        self._planning = {store.name: Planning(partial(uuid7, clock), self._lead) for store in stores.all()}
        self._zones = {store.name: ZoneData(uuid7(clock), settings.zone_data) for store in stores.all()}
        self._pacing = {store.name: Pacing(settings.per_minute) for store in stores.all()}
        self._undecided: set[str] = set()
        """Stores in which nobody decides what is planned."""
        self._looked_at: dict[str, datetime] = {}
        """Up to which instant the triggers of a store were last looked through."""
        self._ahead: dict[str, timedelta] = {}
        """How long before their instants triggers are planned, by store, as long as so many are due soon."""
        self._calendars_on: dict[str, date] = {}
        """The day on which the ends of calendars were last looked at, by store."""

    async def start(self) -> None:
        await super().start()
        for store in self._stores.all():
            self.keep(f"tick {store.name}", partial(self._tick_for_ever, store))
            self.keep(f"zone data {store.name}", partial(self._mind_for_ever, store))
            if self._settings.retention is not None:
                self.keep(f"history {store.name}", partial(self._retain_for_ever, store, self._settings.retention))

    async def stop(self) -> None:
        started = self._publisher is not None
        await super().stop()
        for store in self._stores.all() if started else ():
            with contextlib.suppress(TransientError):
                await self._zones[store.name].leave(store)

    async def mind_zone_data(self, store: Store) -> None:
        """Say that this Ticker is alive, and compute anew what other zone data have computed."""
        zones = self._zones[store.name]
        await zones.beat(store)
        if zones.outdated:
            await zones.recompute(store, self._planning[store.name].rules, now=self.clock.now())

    async def _mind_for_ever(self, store: Store) -> None:
        while not self.draining:
            await self.mind_zone_data(store)
            self.well(f"zone data {store.name}")
            await self.clock.sleep(BEAT_S)

    async def _retain_for_ever(self, store: Store, settings: RetentionSettings) -> None:
        """Move, archive and drop what has ended, once a day, in whichever Ticker takes the turn."""
        while not self.draining:
            due_at = await plan_next(store, settings, self.clock.now())
            self.well(f"history {store.name}")
            wait_s = (due_at - self.clock.now()) / timedelta(seconds=1)
            await self.clock.sleep(min(max(wait_s, _HISTORY_LEAST_S), _HISTORY_LOOK_S))
            if wait_s <= _HISTORY_LOOK_S:
                try:
                    done = await retain(store, settings, self.clock)
                except ConfigurationError as error:  # the archive: all else works, health tells of it
                    log.error("retention.failed", store=store.name, reason=str(error))
                    continue
                if done is not None:
                    log.info("retention.done", store=store.name, **asdict(done))

    async def _tick_for_ever(self, store: Store) -> None:
        async with Doorbell(store.dsn, DEFINITIONS, WAKE, name="ticker bell") as bell:
            await self._zones[store.name].beat(store)
            while not self.draining:
                await self.tick(store)
                self.well(f"tick {store.name}")
                await bell.wait(self.clock, await self._until_next(store))

    async def tick(self, store: Store) -> None:
        """Plan everything that is due now, batch by batch; wake what waits for a time at its end, and every second."""
        pacing, planning = self._pacing[store.name], self._planning[store.name]
        more = not self._zones[store.name].stands_aside and store.name not in self._undecided
        woken_at = self.clock.monotonic()
        while more and not self.draining:
            now = self.clock.now()
            ahead = self._ahead.get(store.name, self._lead)
            self._looked_at[store.name] = now + ahead
            planned = await planning.plan_due(store, now=now, limit=self._settings.batch_size, ahead=ahead)
            more = planned.more
            pacing.holds = pacing.holds or planned.holds
            if planned.triggers:
                crash_point("ticker.after_commit")
                await say_missed(store, planned.misfired)
                if planned.due:
                    await self.say("scheduler.firings", "firing.due", planned.due)
                crash_point("ticker.after_confirm")
                log.debug("ticker.ticked", triggers=planned.triggers, rows=planned.rows, store=store.name)
            if self.clock.monotonic() - woken_at >= _WAKE_S:
                await self._wake(store)
                woken_at = self.clock.monotonic()
        await self._wake(store)
        await self._warn_of_calendars(store)

    async def _wake(self, store: Store) -> None:
        """Wake runs whose wait is over, and let go what was missed, as the pace allows."""
        pacing = self._pacing[store.name]
        await wake_runs(store)
        released = await pacing.release(store, now=self.clock.now()) if pacing.holds else []
        if released:
            await self.say("scheduler.firings", "firing.due", released)
            log.info("ticker.caught_up", firings=len(released), store=store.name)

    async def _warn_of_calendars(self, store: Store) -> None:
        """Say once a day which calendars run out of data."""
        today = self.clock.now().date()
        if self._calendars_on.get(store.name) == today:
            return
        self._calendars_on[store.name] = today
        for ending in await list_ending(store, None, today):
            log.warning("calendar.ends", tenant=ending.tenant, calendar=ending.name, last_day=str(ending.last_day))

    async def _until_next(self, store: Store) -> float:
        """Return seconds until something is due, at most the tick interval."""
        following = await find_next_tick(store, self.clock.now() + _FURTHEST)
        ahead = self._ahead[store.name] = self._lead_for(following.crowd)
        self._mind_undecided(store, undecided=following.undecided)
        next_at = None if self._zones[store.name].stands_aside or following.undecided else following.at
        wake_s = following.wake_s
        self._pacing[store.name].holds = following.holds
        waits = [self._settings.interval_s]
        if following.holds:
            waits.append(_RELEASE_S)
        if next_at is not None:
            # Due when last looked and yet not planned: another Ticker holds it. It is looked at again,
            # but not without pause. What became due since then is planned at once.
            looked_at = self._looked_at.get(store.name)
            held = looked_at is not None and next_at <= looked_at
            waits.append(_HELD_PAUSE_S if held else (next_at - ahead - self.clock.now()) / timedelta(seconds=1))
        if wake_s is not None:
            waits.append(wake_s)
        return max(0.0, min(waits))

    def _mind_undecided(self, store: Store, *, undecided: bool) -> None:
        """Plan nothing while no Dispatcher decides: what falls into that time is caught up as after any outage.

        Otherwise each instant of it would be a row, and all of them would be decided at once in the end.
        """
        if undecided and store.name not in self._undecided:
            self._undecided.add(store.name)
            log.warning(
                "ticker.held", store=store.name, reason="firings are undecided for minutes: no Dispatcher works"
            )
        elif not undecided and store.name in self._undecided:
            self._undecided.discard(store.name)
            log.warning("ticker.resumed", store=store.name)

    def _lead_for(self, soon: int) -> timedelta:
        """Return how long before their instants triggers are planned, ``soon`` of which are due soon.

        A crowd is planned ahead by as long as it takes to write it down: at its instant only the verdicts
        are left to do. Nobody is told of it, a sweep of the Dispatchers finds it when it is due.
        """
        if soon < self._settings.crowd:
            return self._lead
        return max(self._lead, min(_FURTHEST, timedelta(seconds=soon / self._settings.plans_per_s)))
