"""Watches of folders: who works each, and how its files were when they had settled last.

State and event of a file are written in one transaction, which only the holder of the watch can
make: each settled change gives one event, whoever dies when.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog
from pydantic import ValidationError

from scheduler.crash import crash_point
from scheduler.domain.file_changes import Change, Stamp
from scheduler.errors import TransientError
from scheduler.store.events import NewEvent, record_events
from scheduler.store.queries import queries
from scheduler.store.stores import Store
from scheduler.store.unreadable import describe
from schemas.event_trigger import FileTrigger

if TYPE_CHECKING:
    from scheduler.store.pool import Connection

log: structlog.stdlib.BoundLogger = structlog.get_logger()

Q: Final = queries("watches")
_PAGE: Final = 5000
"""Rows read or written at once."""


class WatchLostError(TransientError):
    """Another Watcher has taken the watch, or may have: nothing was written."""

    code = "watch_lost"


@dataclass(frozen=True, slots=True)
class WatchedTrigger:
    """A file trigger that fires."""

    id: UUID
    tenant: str
    job: str
    key: str
    spec: FileTrigger
    anchor_at: datetime
    """When it was first applied."""


@dataclass(frozen=True, slots=True)
class Hold:
    """The right to work a watch, as long as its lease is renewed."""

    trigger_id: UUID
    owner: UUID
    holds: int


async def list_watched(store: Store) -> list[WatchedTrigger]:
    """Return the file triggers that fire; rows of others that rest or are gone are put right."""
    found: list[WatchedTrigger] = []
    resting: list[UUID] = []
    async with store.connection() as db:
        for row in await db.fetch(Q["list_file_triggers"]):
            if not row["enabled"]:
                resting.append(row["id"])
                continue
            try:
                spec = FileTrigger.model_validate(row["spec"], extra="ignore")
            except ValidationError as error:
                log.error("trigger.unreadable", tenant=row["tenant"], trigger_id=str(row["id"]), error=describe(error))
                continue
            found.append(WatchedTrigger(row["id"], row["tenant"], row["job"], row["key"], spec, row["anchor_at"]))
        if resting:
            await db.execute(Q["rest_watches"], resting)
        await db.execute(Q["forget_watches"])
    return found


async def take_watches(
    store: Store, owner: UUID, host: str, wanted: Mapping[UUID, tuple[WatchedTrigger, str]], lease_s: float
) -> dict[UUID, Hold]:
    """Take or keep the watches of ``wanted`` (trigger → itself and its basis); return those that are held now."""
    if not wanted:
        return {}
    triggers = [trigger for trigger, _ in wanted.values()]
    columns = (
        [trigger.id for trigger in triggers],
        [trigger.tenant for trigger in triggers],
        [basis for _, basis in wanted.values()],
        [trigger.anchor_at for trigger in triggers],
    )
    async with store.connection() as db:
        rows = await db.fetch(Q["take_watches"], owner, host, lease_s, *columns)
    return {row["trigger_id"]: Hold(row["trigger_id"], owner, row["holds"]) for row in rows}


async def leave_watches(store: Store, owner: UUID, triggers: Sequence[UUID]) -> None:
    """Give watches free for others at once."""
    async with store.connection() as db:
        await db.execute(Q["leave_watches"], owner, list(triggers))


async def say_trouble(store: Store, owner: UUID, watched: tuple[WatchedTrigger, str], trouble: str | None) -> None:
    """Note why the folder of a trigger, given with its basis, cannot be looked at; None: it can."""
    trigger, basis = watched
    async with store.connection() as db:
        await db.execute(Q["say_trouble"], trigger.id, trigger.tenant, basis, trigger.anchor_at, trouble, owner)


async def find_since(store: Store, hold: Hold) -> datetime | None:
    """Return since when files are news, for a watch whose first look is not recorded yet; None: it is.

    Raises:
        WatchLostError: another Watcher has taken the watch.
    """
    async with store.connection() as db:
        row = await db.fetchrow(Q["find_base"], hold.trigger_id, hold.owner, hold.holds)
    if row is None or row["since"] is None:
        raise WatchLostError("another Watcher has taken it")
    since: datetime = row["since"]
    return None if row["based"] else since


async def list_files(store: Store, trigger_id: UUID) -> dict[bytes, Stamp]:
    """Return how each file was when it had settled last."""
    found: dict[bytes, Stamp] = {}
    last = b""
    async with store.connection() as db:
        while True:
            rows = await db.fetch(Q["list_files"], trigger_id, last, _PAGE)
            for path, size, mtime_ns, inode, born_ns in rows:
                found[path] = Stamp(size, mtime_ns, inode, born_ns)
            if len(rows) < _PAGE:
                return found
            last = rows[-1]["path"]


async def record_base(store: Store, hold: Hold, tenant: str, files: Mapping[bytes, Stamp]) -> None:
    """Record the first look: files that are no news.

    Raises:
        WatchLostError: another Watcher has taken the watch.
    """
    async with store.transaction() as db:
        await _hold(db, hold)
        if not await db.fetchval(Q["base_watch"], hold.trigger_id):
            raise WatchLostError("its first look is recorded")
        await db.execute(Q["delete_all_files"], hold.trigger_id)
        for page in _pages(files.items(), _PAGE):
            await _write(db, hold.trigger_id, tenant, page)


async def record_changes(
    store: Store, hold: Hold, tenant: str, changes: Sequence[Change], events: Sequence[NewEvent]
) -> None:
    """Record changes and the events they give, all or nothing; the caller says EventReceived of these.

    Raises:
        WatchLostError: another Watcher has taken the watch.
    """
    async with store.transaction() as db:
        await _hold(db, hold)
        there = [(change.path, change.stamp) for change in changes if change.stamp is not None]
        gone = [change.path for change in changes if change.stamp is None]
        if there:
            await _write(db, hold.trigger_id, tenant, there)
        if gone:
            await db.execute(Q["delete_files"], hold.trigger_id, gone)
        if events:
            await record_events(db, events, hinted=True)
        crash_point("watcher.before_commit")
    crash_point("watcher.after_commit")


async def list_troubles(store: Store, tenant: str) -> list[str]:
    """Return a line for each file trigger of ``tenant`` whose folder is not looked at, with the reason."""
    async with store.connection() as db:
        rows = await db.fetch(Q["list_troubles"], tenant)
    nobody = "no Watcher works it: scheduler start watcher"
    return [f"trigger {row['trigger']} of job {row['job']}: {row['trouble'] or nobody}" for row in rows]


async def _hold(db: "Connection", hold: Hold) -> None:
    if not await db.fetchval(Q["hold_watch"], hold.trigger_id, hold.owner, hold.holds):
        raise WatchLostError("another Watcher has taken it")


async def _write(db: "Connection", trigger_id: UUID, tenant: str, files: Sequence[tuple[bytes, Stamp]]) -> None:
    await db.execute(
        Q["write_files"],
        trigger_id,
        tenant,
        [path for path, _ in files],
        [stamp.size for _, stamp in files],
        [stamp.mtime_ns for _, stamp in files],
        [stamp.inode for _, stamp in files],
        [stamp.born_ns for _, stamp in files],
    )


def _pages(files: Iterable[tuple[bytes, Stamp]], size: int) -> Iterator[Sequence[tuple[bytes, Stamp]]]:
    left = iter(files)
    while page := list(islice(left, size)):
        yield page
