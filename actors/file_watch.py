"""One file trigger in the hands of a Watcher: looks at its folder, and records what has settled."""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar
from uuid import UUID

import structlog

from scheduler.clock import Clock
from scheduler.domain.file_changes import Change, FileTracker, Listing, Stamp
from scheduler.domain.file_event import TOPIC, file_data, modified
from scheduler.ids import uuid7
from scheduler.store.events import NewEvent
from scheduler.store.stores import Store
from scheduler.store.watches import (
    Hold,
    WatchedTrigger,
    WatchLostError,
    find_since,
    list_files,
    record_base,
    record_changes,
    say_trouble,
)
from scheduler.watching.aside import start_aside
from scheduler.watching.hints import Hints, Subscription
from scheduler.watching.scan import Folder, FolderAwayError, Scan, TooManyFilesError
from schemas.facts import EventReceived
from schemas.vocabulary import EventSource

log: structlog.stdlib.BoundLogger = structlog.get_logger()
T = TypeVar("T")

SCANS_AT_ONCE: Final = 4
_BATCH: Final = 1000
"""Changes recorded in one transaction."""
_AWAY_S: Final = 2.0
"""Between two looks whether a folder that was away is back."""
_LEAST_PAUSE_S: Final = 0.1
_REST_SHARE: Final = 4
"""After a look, so many times as long as it took is waited at least: a large folder takes a fifth of a core."""
_ANSWER_S: Final = 120.0
"""A folder that is not listed within this does not answer."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class WatchSettings:
    lease_s: float = 15.0
    """After so long without a renewal another Watcher takes a watch."""
    rescan_s: float = 30.0
    """The longest time between two looks at a folder that tells of its changes."""
    poll_s: float = 5.0
    """The same where nothing tells of them."""
    max_files: int = 100_000
    """The most files of one trigger."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What all watches of a Watcher work with."""

    store: Store
    owner: UUID
    clock: Clock
    settings: WatchSettings
    hints: Hints
    say: Callable[[Sequence[EventReceived]], Awaitable[None]]
    slots: asyncio.Semaphore
    on_back: Callable[[], None]
    """Called when a folder can be looked at again, so that its watch is taken soon."""


class FileWatch:
    """Works one watch while it is held. ``reachable`` says whether it should be: the folder is there."""

    def __init__(self, trigger: WatchedTrigger, basis: str, folder: Folder, desk: Desk) -> None:
        self.trigger = trigger
        self.basis = basis
        self.reachable = False
        self._folder = folder
        self._desk = desk
        self._hold: Hold | None = None
        self._moved = asyncio.Event()
        self._aside: asyncio.Future[Any] | None = None
        self._complaint: str | None = ""
        """What was said last; empty: nothing yet, what was noted by another may be wrong."""
        self._polled: str | None = None

    def give(self, hold: Hold | None) -> None:
        """Say who holds the watch: this Watcher by ``hold``, or not."""
        before, self._hold = self._hold, hold
        if (before and before.holds) != (hold and hold.holds):
            self._moved.set()

    async def run(self) -> None:
        """Look at the folder, and work the watch whenever it is held, for ever."""
        hints = self._desk.hints.subscribe()
        try:
            while True:
                try:
                    hold = await self._wait_for_hold()
                    await self._work(hold, hints)
                except FolderAwayError as error:
                    self.reachable = isinstance(error, TooManyFilesError)
                    await self._complain(str(error))
                    await self._rest(hints.rung, _AWAY_S)
                except WatchLostError:
                    self._hold = None
                    log.info("watch.lost", **self._words)
        finally:
            hints.close()

    @property
    def _words(self) -> dict[str, str]:
        trigger = self.trigger
        return {"tenant": trigger.tenant, "job": trigger.job, "trigger": trigger.key}

    async def _wait_for_hold(self) -> Hold:
        while True:
            self._moved.clear()
            await self._in_thread(lambda: _open(self._folder.root))
            if not self.reachable:
                self.reachable = True
                self._desk.on_back()
            if self._hold is not None:
                return self._hold
            await self._rest(self._moved, self._desk.settings.lease_s)

    async def _work(self, hold: Hold, hints: Subscription) -> None:
        """Look again and again, as long as the watch is held."""
        settings, spec, clock = self._desk.settings, self.trigger.spec.file, self._desk.clock
        since = await find_since(self._desk.store, hold)
        if since is not None:
            await self._base(hold, hints, since)
        known = await list_files(self._desk.store, hold.trigger_id)
        tracker = FileTracker(known, spec.changes, spec.settle.total_seconds(), spec.min_size or 0)
        while self._hold is not None and self._hold.holds == hold.holds:
            hints.rung.clear()
            began = clock.monotonic()
            listing = await self._look(hints, known)
            await self._complain(None)
            now = clock.monotonic()
            await self._record(hold, tracker, tracker.look(listing, now))
            longest = settings.rescan_s if self._polled is None else settings.poll_s
            due_s = tracker.due_in(clock.monotonic())
            pause = max(_LEAST_PAUSE_S, _REST_SHARE * (now - began))
            await clock.sleep(pause)
            await self._rest(hints.rung, (longest if due_s is None else min(due_s, longest)) - pause)

    async def _base(self, hold: Hold, hints: Subscription, since: datetime) -> None:
        """Take the first look: what is older than the trigger is known, and starts nothing."""
        listing = await self._look(hints, {}, since=since)
        known = {path: stamp for path, stamp in listing.files.items() if path not in listing.fresh}
        await record_base(self._desk.store, hold, self.trigger.tenant, known)
        log.info("watch.began", **self._words, known=len(known), fresh=len(listing.fresh))

    async def _look(self, hints: Subscription, known: dict[bytes, Stamp], *, since: datetime | None = None) -> Listing:
        scan = Scan(self._folder, hints, known)
        if since is not None:
            scan.since_ns = (since - _EPOCH) // timedelta(microseconds=1) * 1000
        try:
            listing = await self._in_thread(scan.run)
        finally:
            scan.ended = True
            hints.keep_found(only=scan.complete)
        if scan.polled != self._polled:
            self._polled = scan.polled
            if scan.polled is not None:
                log.warning("watch.polled", **self._words, reason=scan.polled)
        return listing

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Return what ``work`` gives.

        Raises:
            FolderAwayError: it takes too long, or what was asked before has not come to an end yet.
        """
        async with self._desk.slots:
            if self._aside is None or self._aside.done():
                self._aside = answer = start_aside(work)
                await asyncio.wait({answer}, timeout=_ANSWER_S)
                if answer.done():
                    return answer.result()
        raise FolderAwayError(f"{os.fsdecode(self._folder.root)!r} does not answer")

    async def _record(self, hold: Hold, tracker: FileTracker, changes: Sequence[Change]) -> None:
        """Record what has settled, in batches; say of each event that it is there."""
        for at in range(0, len(changes), _BATCH):
            batch = changes[at : at + _BATCH]
            events = [self._event(change) for change in batch if change.kind is not None]
            await record_changes(self._desk.store, hold, self.trigger.tenant, batch, events)
            tracker.remember(batch)
            if events:
                await self._desk.say([EventReceived(tenant=event.tenant, event_id=event.id) for event in events])
        if changes:
            events_made = sum(change.kind is not None for change in changes)
            log.info("watch.recorded", **self._words, changes=len(changes), events=events_made)

    def _event(self, change: Change) -> NewEvent:
        data = file_data(self._folder.root, change)
        return NewEvent(
            id=uuid7(self._desk.clock),
            tenant=self.trigger.tenant,
            source=EventSource.FILE,
            topic=f"{TOPIC}{change.kind}",
            data=data,
            subject=data["relative"],
            for_triggers=[self.trigger.id],
            occurred_at=modified(change),
        )

    async def _complain(self, why: str | None) -> None:
        """Say once what is wrong with the folder, and once that it is well again."""
        if why == self._complaint:
            return
        if why is not None:
            log.warning("watch.stopped", **self._words, reason=why)
        elif self._complaint:
            log.info("watch.resumed", **self._words)
        await say_trouble(self._desk.store, self._desk.owner, (self.trigger, self.basis), why)
        self._complaint = why

    async def _rest(self, until: asyncio.Event, longest_s: float) -> None:
        """Wait until ``until`` is set, or so many seconds."""
        if longest_s <= 0:
            return
        waiting = asyncio.ensure_future(until.wait())
        sleeping = asyncio.ensure_future(self._desk.clock.sleep(longest_s))
        try:
            await asyncio.wait({waiting, sleeping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            sleeping.cancel()
            await asyncio.gather(waiting, sleeping, return_exceptions=True)


def _open(root: bytes) -> None:
    """See that a folder can be listed.

    Raises:
        FolderAwayError: it cannot.
    """
    try:
        with contextlib.closing(os.scandir(root)):
            pass
    except OSError as error:
        raise FolderAwayError(f"{os.fsdecode(root)!r}: {error.strerror}") from None
