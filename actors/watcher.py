"""Watcher: turns changes of files into events. Any number may run; each file trigger is worked by one of them.

Hears   the file system
Says    event.received
Writes  events, watches, watched_files
"""

import asyncio
import contextlib
import json
import os
import random
import socket
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final
from uuid import UUID

import structlog

from actors.base import Actor
from actors.file_watch import SCANS_AT_ONCE, Desk, FileWatch, WatchSettings
from scheduler.clock import Clock
from scheduler.domain.file_match import FileMatch
from scheduler.errors import TransientError
from scheduler.ids import uuid7
from scheduler.ports import Transport
from scheduler.store.doorbell import DEFINITIONS, Doorbell
from scheduler.store.stores import Store, Stores
from scheduler.store.watches import WatchedTrigger, leave_watches, list_watched, take_watches
from scheduler.watching.hints import Hints
from scheduler.watching.scan import Folder
from schemas.facts import EventReceived

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_SAY_S: Final = 5.0
"""With the broker away, events are recorded all the same; Dispatchers find them by looking."""
_IDLE_S: Final = 5.0
"""Between two looks whether there is a file trigger, as long as there is none."""
_NOTICE: Final = 3
"""A lease is renewed so often in its time."""


class Watcher(Actor):
    """Holds as many watches as it gets, and gives up those whose folder it cannot see."""

    def __init__(
        self,
        stores: Stores,
        transport: Transport,
        clock: Clock,
        rng: random.Random,
        settings: WatchSettings,
        where: tuple[Path, Hints],
    ) -> None:
        """``where``: what relative paths are below, and the hints of this process."""
        super().__init__("watcher", transport, clock, rng)
        self._stores = stores
        self._settings = settings
        self._base, self._hints = where
        self._owner = uuid7(clock)
        self._watches: dict[UUID, FileWatch] = {}
        self._slots = asyncio.Semaphore(SCANS_AT_ONCE)
        self._call = asyncio.Event()

    async def start(self) -> None:
        await super().start()
        for store in self._stores.all():
            self.keep(f"tend {store.name}", partial(self._tend_for_ever, store))

    async def stop(self) -> None:
        await super().stop()
        held = list(self._watches)
        self._watches.clear()
        for store in self._stores.all() if held else ():
            with contextlib.suppress(TransientError):
                await leave_watches(store, self._owner, held)

    async def _tend_for_ever(self, store: Store) -> None:
        while not self.draining:
            if await self._tend(store):
                await self._tend_with_bell(store)
            else:  # a connection for the bell is not worth it
                await self.clock.sleep(_IDLE_S)

    async def _tend_with_bell(self, store: Store) -> None:
        async with Doorbell(store.dsn, DEFINITIONS, name="watcher bell") as bell:
            while await self._tend(store) and not self.draining:
                ring = asyncio.ensure_future(bell.wait(self.clock, self._settings.lease_s / _NOTICE))
                call = asyncio.ensure_future(self._call.wait())
                try:
                    await asyncio.wait({ring, call}, return_when=asyncio.FIRST_COMPLETED)
                    if ring.done():
                        ring.result()
                finally:
                    ring.cancel()
                    call.cancel()
                    await asyncio.gather(ring, call, return_exceptions=True)
                    self._call.clear()

    async def _tend(self, store: Store) -> bool:
        """Take and keep watches, begin with new ones and end old ones; False: there is none."""
        triggers = {trigger.id: trigger for trigger in await list_watched(store)}
        for trigger_id, watch in list(self._watches.items()):
            if trigger_id not in triggers or triggers[trigger_id].spec != watch.trigger.spec:
                await self._end(trigger_id)
        for trigger in triggers.values():
            if trigger.id not in self._watches:
                self._begin(store, trigger)
        wanted = {key: (watch.trigger, watch.basis) for key, watch in self._watches.items() if watch.reachable}
        held = await take_watches(store, self._owner, socket.gethostname(), wanted, self._settings.lease_s)
        away = [key for key in self._watches if key not in wanted]
        if away:
            await leave_watches(store, self._owner, away)
        for trigger_id, watch in self._watches.items():
            watch.give(held.get(trigger_id))
        self.well(f"tend {store.name}")
        return bool(triggers)

    def _begin(self, store: Store, trigger: WatchedTrigger) -> None:
        spec = trigger.spec.file
        root = os.fsencode(os.path.normpath(self._base.absolute() / spec.path))
        folder = Folder(root, FileMatch(spec.match), spec.recursive, self._settings.max_files)
        basis = json.dumps([os.fsdecode(root), sorted(spec.match), spec.recursive, spec.min_size or 0])
        desk = Desk(
            store,
            self._owner,
            self.clock,
            self._settings,
            self._hints,
            self._say_received,
            self._slots,
            self._call.set,
        )
        watch = self._watches[trigger.id] = FileWatch(trigger, basis, folder, desk)
        self.keep(_loop_of(trigger.id), watch.run)

    async def _end(self, trigger_id: UUID) -> None:
        del self._watches[trigger_id]
        task = self._loops.pop(_loop_of(trigger_id))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        self.well(_loop_of(trigger_id))

    async def _say_received(self, facts: Sequence[EventReceived]) -> None:
        with contextlib.suppress(TransientError, TimeoutError):
            async with asyncio.timeout(_SAY_S):
                await self.say("scheduler.firings", "event.received", facts)


def _loop_of(trigger_id: UUID) -> str:
    return f"watch {trigger_id}"
