"""The Dispatcher's desk for what happens to the scheduler itself: sees it, and has it decided as events.

Every Dispatcher looks; the rows see to it that each happening is told once. Only what some trigger waits
for is looked at.
"""

import asyncio
import shutil
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog

from actors.events import EventDesk
from scheduler.clock import Clock
from scheduler.errors import ConfigurationError, TransientError
from scheduler.ids import uuid7
from scheduler.store.event_deciding import EventDeciding
from scheduler.store.happenings import Listener, Seen, beat, leave, listeners_of, note, see, tell, was_first
from scheduler.store.pool import connect
from scheduler.store.queries import queries
from scheduler.store.registry import find_dsn, list_databases
from scheduler.store.stores import Store
from schemas.happening_trigger import SystemEvent

if TYPE_CHECKING:
    from scheduler.store.pool import Connection

log: structlog.stdlib.BoundLogger = structlog.get_logger()

LOOK_S: Final = 2.0
"""Between two looks."""
_ANSWER_S: Final = 5.0
_REVISIONS: Final = queries("catalogue")["list_revisions"]


@dataclass(frozen=True, slots=True)
class Outside:
    """What is looked at besides the rows, and how."""

    lease_s: float
    data_dir: Path
    allow_insecure: bool = False
    """Whether databases of tenants may be on other hosts without TLS."""


class HappeningDesk:
    """Looks of one Dispatcher, for one store."""

    def __init__(
        self, store: Store, deciding: EventDeciding, events: EventDesk, clock: Clock, outside: Outside
    ) -> None:
        self._store = store
        self._deciding = deciding
        self._events = events
        self._clock = clock
        self._outside = outside
        self._id = uuid7(clock)
        self._told = False

    async def look(self) -> None:
        """Say that this Dispatcher is alive, and tell what has happened since the last look."""
        async with self._store.transaction(flush=False) as db:
            await beat(db, self._id)
            listeners = await self._listeners(db)
        around = [seen for one in listeners if (seen := await self._around(one)) is not None]
        async with self._store.transaction() as db:
            events = await self._start(db, listeners)
            rows = [seen for one in listeners if (seen := await see(db, one, self._outside.lease_s)) is not None]
            if rows or around:
                events += await note(db, [*rows, *around], self._new_id)
        await self._events.decide_sparing(events)

    async def leave(self) -> None:
        """Go in order; the last Dispatcher that goes tells of it. What that starts runs while executors are there."""
        try:
            async with self._store.transaction() as db:
                listeners = await self._listeners(db)
                last = await leave(db, self._id)
                events = await tell(db, SystemEvent.STOPPING, str(self._id), listeners, self._new_id) if last else []
            await self._events.decide_sparing(events)
        except TransientError as error:
            log.warning("dispatcher.left_unheard", store=self._store.name, error=str(error))

    async def _start(self, db: "Connection", listeners: Sequence[Listener]) -> list[UUID]:
        if self._told:
            return []
        first = await was_first(db, self._id)
        self._told = first is not None
        return await tell(db, SystemEvent.STARTED, str(self._id), listeners, self._new_id) if first else []

    async def _listeners(self, db: "Connection") -> list[Listener]:
        revisions = {row["name"]: row["revision"] for row in await db.fetch(_REVISIONS)}
        return listeners_of(await self._deciding.current(db, revisions))

    async def _around(self, listener: Listener) -> Seen | None:
        """Return what is seen outside of the rows; None: it is nothing to be seen there."""
        match listener.spec.on:
            case SystemEvent.DISK_LOW:
                free, place = await asyncio.to_thread(_free, self._outside.data_dir)
                host = socket.gethostname()
                facts = {"host": host, "path": str(place), "free_bytes": free}
                return Seen(listener, {host: facts} if free < listener.spec.below else {}, [host])
            case SystemEvent.TENANT_DATABASE_DOWN if not self._store.apart:
                return Seen(listener, {
                    tenant: {"tenant": tenant, "why": why}
                    for tenant, reference in (await list_databases(self._store)).items()
                    if (why := await self._trouble(tenant, reference)) is not None
                })  # fmt: skip
            case _:
                return None

    async def _trouble(self, tenant: str, reference: str) -> str | None:
        """Return why the database of a tenant cannot be reached; None: it can."""
        insecure = self._outside.allow_insecure
        try:
            async with asyncio.timeout(_ANSWER_S):
                dsn = await asyncio.to_thread(find_dsn, tenant, reference, allow_insecure=insecure)
                await (await connect(dsn, name="dispatcher look")).close()
        except TimeoutError:
            return "it does not answer"
        except (TransientError, ConfigurationError) as error:
            return str(error)
        return None

    def _new_id(self) -> UUID:
        return uuid7(self._clock)


def _free(path: Path) -> tuple[int, Path]:
    """Return how many bytes are free where ``path`` is, or would be made."""
    place = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    return shutil.disk_usage(place).free, place
