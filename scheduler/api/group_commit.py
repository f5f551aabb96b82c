"""Events that arrive together are written together: one transaction for all that gathered while the last one ran.

Nobody waits for company: an event that finds no transaction under way begins one. Each tenant has its own, since a
transaction is held to one tenant.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from scheduler.errors import DatabaseUnavailableError, TransientError
from scheduler.store.events import NewEvent, Recorded, forget_keys, record_events
from scheduler.store.tenant_store import TenantStore

MOST_EVENTS: Final = 500
"""Of one transaction."""
MOST_BYTES: Final = 8 * 1024 * 1024
"""Of the bodies of one transaction, about."""
PATIENCE_S: Final = 2.0
"""A transaction that takes longer counts as lost: whoever waits is told so, and nobody waits behind it."""

_FORGET_AFTER: Final = 200
"""Expired keys are looked for once for so many events: it is a round trip."""

Waiting = tuple[NewEvent, int, "asyncio.Future[Recorded]"]
"""An event, how many bytes it came in, and what becomes of it."""
OnWritten = Callable[[Sequence[NewEvent]], None]


@dataclass(slots=True)
class _Group:
    waiting: list[Waiting] = field(default_factory=list)
    task: "asyncio.Task[None] | None" = None
    stuck: bool = False


class GroupCommit:
    """Writes events. ``on_written`` is called with those of each transaction that are new, after its commit.

    It tells their Dispatchers of them; those of a tenant with a vhost of its own, where it is not, are rung.
    """

    def __init__(self, store_of: Callable[[str], TenantStore], on_written: OnWritten) -> None:
        self._store_of = store_of
        self._on_written = on_written
        self._groups: dict[str, _Group] = {}
        self._unforgotten: Counter[str] = Counter()
        """By tenant, how many keys were taken since expired ones were looked for."""

    async def record(self, event: NewEvent, size: int) -> Recorded:
        """Write ``event``; it is on disk when this returns.

        Raises:
            TransientError: it is not known to be, and may yet be: nobody knows.
        """
        group = self._groups.setdefault(event.tenant, _Group())
        if group.stuck:
            raise _stuck()
        future: asyncio.Future[Recorded] = asyncio.get_running_loop().create_future()
        group.waiting.append((event, size, future))
        if group.task is None:
            group.task = asyncio.create_task(self._write(event.tenant, group), name=f"group commit {event.tenant}")
        return await future

    async def close(self) -> None:
        """Give up what is under way; whoever waits is told that nobody knows."""
        tasks = [group.task for group in self._groups.values() if group.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _write(self, tenant: str, group: _Group) -> None:
        try:
            while group.waiting:
                batch = _next(group.waiting)
                try:
                    await self._write_in_time(tenant, group, batch)
                finally:
                    _fail(batch, _stuck())
        finally:
            group.task = None
            self._groups.pop(tenant, None)
            _fail(group.waiting, _stuck())

    async def _write_in_time(self, tenant: str, group: _Group, batch: Sequence[Waiting]) -> None:
        writing = asyncio.create_task(self._write_batch(tenant, batch), name=f"write events {tenant}")
        try:
            done, _ = await asyncio.wait({writing}, timeout=PATIENCE_S)
            if not done:  # it goes on: what it wrote in the end is known by its id when it comes again
                group.stuck = True
                _fail(batch, _stuck())
                _fail(group.waiting, _stuck())
                group.waiting.clear()
            await writing
        finally:
            group.stuck = False
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)

    async def _write_batch(self, tenant: str, batch: Sequence[Waiting]) -> None:
        """Write a batch; where one event cannot be stored, the others are."""
        events = [event for event, _, _ in batch]
        try:
            store = self._store_of(tenant)
            async with store.plain() as db:
                recorded = await record_events(db, events, hinted=not store.alone, forgets=False)
        except TransientError as error:
            _fail(batch, error)
        except Exception as error:  # noqa: BLE001 - whoever waits for the event is told
            if len(batch) == 1:
                _fail(batch, error)
                return
            for one in batch:
                await self._write_batch(tenant, [one])
        else:
            self._on_written([event for event, row in zip(events, recorded, strict=True) if not row.duplicate])
            for (_, _, future), row in zip(batch, recorded, strict=True):
                if not future.done():
                    future.set_result(row)
            await self._forget(tenant, len(batch))

    async def _forget(self, tenant: str, taken: int) -> None:
        self._unforgotten[tenant] += taken
        if self._unforgotten[tenant] >= _FORGET_AFTER:
            with contextlib.suppress(TransientError):  # another time
                async with self._store_of(tenant).plain() as db:
                    await forget_keys(db, self._unforgotten.pop(tenant))


def _next(waiting: list[Waiting]) -> list[Waiting]:
    count = size = 0
    while count < min(MOST_EVENTS, len(waiting)) and (count == 0 or size + waiting[count][1] <= MOST_BYTES):
        size += waiting[count][1]
        count += 1
    batch = waiting[:count]
    del waiting[:count]
    return batch


def _fail(batch: Sequence[Waiting], error: Exception) -> None:
    for _, _, future in batch:
        if not future.done():
            future.set_exception(error)


def _stuck() -> DatabaseUnavailableError:
    return DatabaseUnavailableError("the database does not answer in time")
