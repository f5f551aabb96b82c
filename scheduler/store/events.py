"""Records events of every source, each once, and reads them back."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from scheduler.domain.audit import AuditAction, AuditKind
from scheduler.domain.causation import depth_of
from scheduler.domain.topic import as_regex
from scheduler.errors import NotFoundError
from scheduler.store.audit import Change, record_changes
from scheduler.store.doorbell import WORK
from scheduler.store.pool import json_text
from scheduler.store.queries import queries
from scheduler.store.registry import Home
from scheduler.store.stores import Store
from schemas.facts import CarriedEvent, EventReceived
from schemas.vocabulary import EventSource

if TYPE_CHECKING:
    import asyncpg

    from scheduler.store.pool import Connection

Q: Final = queries("events")
_RING: Final = queries("definitions")["ring"]
KEPT: Final = timedelta(days=2)
"""So long an event is known by its key when it comes again."""
_FORGOTTEN: Final = 2
"""Expired keys that are deleted for each one that is taken: there are never many."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """An event to record. Its text and data must be storable: see schemas.json_values.check_json."""

    id: UUID
    """Made by whoever records it; one that is there already is a duplicate."""
    tenant: str
    source: EventSource
    topic: str
    data: Any
    key: str | None = None
    """What it is known by when it comes again, within tenant and source; None: each time it is another."""
    sender_id: str | None = None
    subject: str | None = None
    headers: Mapping[str, Any] | None = None
    for_triggers: Sequence[UUID] | None = None
    """Only these triggers may fire for it; None: all that its topic matches."""
    depth: int = 0
    """How many runs led to it; 0: as its headers say."""
    occurred_at: datetime | None = None
    problem: str | None = None
    """Why nothing can be made of it: it is recorded as invalid."""

    def carried(self) -> EventReceived:
        """Return the message that has all of it, for the Dispatchers of a database that it is not recorded in yet.

        It is not validated again: an event is made of what was.
        """
        carried = CarriedEvent.model_construct(
            source=self.source,
            topic=self.topic,
            data=self.data,
            key=self.key,
            sender_id=self.sender_id,
            subject=self.subject,
            headers=dict(self.headers or {}),
            occurred_at=self.occurred_at,
            problem=self.problem,
        )
        return EventReceived.model_construct(tenant=self.tenant, event_id=self.id, event=carried)


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of a NewEvent; a duplicate's id is that of the event that came first."""

    event_id: UUID
    duplicate: bool


async def record_events(
    db: "Connection", events: Sequence[NewEvent], *, hinted: bool = False, forgets: bool = True
) -> list[Recorded]:
    """Write events that are not there yet, within the caller's transaction; the answer is in their order.

    ``hinted``: the caller says EventReceived of each after its commit. Else Dispatchers are rung, and
    find them by looking. ``forgets=False``: the caller calls ``forget_keys``, for each key sooner or later.
    """
    owners = await _take_keys(db, events)
    fresh: dict[UUID, NewEvent] = {}
    for event in events:
        if event.key is None or owners[event.tenant, event.source.value, event.key] == event.id:
            fresh.setdefault(event.id, event)
    rows = await db.fetch(Q["record_events"], *_columns(fresh.values()), hinted) if fresh else []
    written = {row["id"] for row in rows}
    if owners and forgets:
        await forget_keys(db, len(owners))
    recorded = []
    for event in events:
        known = event.id if event.key is None else owners[event.tenant, event.source.value, event.key]
        recorded.append(Recorded(known, known not in written))
        written.discard(known)
    if fresh and not hinted:
        await db.execute(_RING, WORK, "")
    return recorded


async def name_events(db: "Connection", events: Sequence[NewEvent]) -> list[UUID]:
    """Return the id of each, all of which have a key: that of the event that brought it first, for as long as it is
    known. They are recorded elsewhere.
    """
    owners = await _take_keys(db, events)
    if owners:
        await forget_keys(db, len(owners))
    return [owners[event.tenant, event.source.value, event.key or ""] for event in events]


async def _take_keys(db: "Connection", events: Sequence[NewEvent]) -> dict[tuple[str, str, str], UUID]:
    """Return, by tenant, source and key, the event that each key belongs to from now on."""
    owners: dict[tuple[str, str, str], UUID] = {}
    for event in events:
        if event.key is not None:
            owners.setdefault((event.tenant, event.source.value, event.key), event.id)
    if owners:
        columns = [list(column) for column in zip(*owners, strict=True)]
        kept = [KEPT.total_seconds()] * len(owners)
        for row in await db.fetch(Q["take_keys"], *columns, list(owners.values()), kept):
            owners[row["tenant"], row["source"], row["key"]] = row["event_id"]
    return owners


async def publish_by_hand(store: Store, event: NewEvent) -> Recorded:
    """Record one event that a person publishes, and that they did."""
    async with store.transaction() as db:
        [recorded] = await record_events(db, [event])
        if not recorded.duplicate:
            after = {"topic": event.topic, "sender_id": event.sender_id, "subject": event.subject}
            done = Change(AuditAction.PUBLISH, AuditKind.EVENT, str(event.id), after=after)
            await record_changes(db, store.by, event.tenant, [done])
    return recorded


async def forget_keys(db: "Connection", taken: int) -> None:
    """Delete expired keys: some for each one that was taken."""
    await db.execute(Q["forget_keys"], _FORGOTTEN * taken)


async def find_contents(db: "Connection", tenant: str, source: EventSource, prefix: str) -> list[UUID]:
    """Return the events whose key is ``prefix``, a colon and something."""
    return [row["event_id"] for row in await db.fetch(Q["find_contents"], tenant, source.value, prefix)]


async def list_known_tenants(db: "Connection", names: Sequence[str]) -> dict[str, Home | None]:
    """Return those of ``names`` that are tenants, and where each is found that has a database of its own."""
    rows = await db.fetch(Q["list_tenants"], list(names))
    return {row["name"]: Home(row["database"], row["broker"]) if row["database"] else None for row in rows}


async def find_undecided(store: Store, limit: int) -> list[UUID]:
    """Return events without a verdict whose message is overdue."""
    async with store.connection() as db:
        return [row["id"] for row in await db.fetch(Q["find_undecided"], limit)]


async def postpone_event(store: Store, event_id: UUID) -> None:
    """Look at an event that cannot be decided again when it is twice as old, at most an hour from now."""
    async with store.connection() as db:
        await db.execute(Q["postpone_event"], event_id)


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events to list: all where a field is None. ``after`` is the last id of the page before."""

    topic: str | None = None
    """A topic or a pattern."""
    source: str | None = None
    verdict: str | None = None
    since: datetime | None = None
    after: UUID | None = None
    limit: int = 50


async def list_events(store: Store, tenant: str, which: EventFilter) -> list[Row]:
    """Return events, newest first, each with the firings it led to."""
    topic = None if which.topic is None else as_regex(which.topic)
    async with store.connection() as db:
        rows = await db.fetch(
            Q["list_events"], tenant, which.after, which.source, which.verdict, topic, which.since, which.limit
        )
        firings = await db.fetch(Q["list_event_firings"], [row["id"] for row in rows])
    return [{**row, "firings": _of(row["id"], firings)} for row in rows]


async def get_event(store: Store, tenant: str, event_id: UUID) -> Row:
    """Return one event with its data and its firings.

    Raises:
        NotFoundError: there is none.
    """
    async with store.connection() as db:
        row = await db.fetchrow(Q["get_event"], tenant, event_id)
        if row is None:
            raise NotFoundError(f"there is no event {event_id}")
        firings = await db.fetch(Q["list_event_firings"], [event_id])
    return {**row, "firings": _of(event_id, firings)}


def _of(event_id: UUID, firings: "Sequence[asyncpg.Record]") -> list[Row]:
    return [
        {key: value for key, value in row.items() if key != "event_id"}
        for row in firings
        if row["event_id"] == event_id
    ]


def _columns(events: Iterable[NewEvent]) -> list[list[Any]]:
    rows = [
        (
            event.id,
            event.tenant,
            event.source.value,
            event.topic,
            event.sender_id,
            event.subject,
            json_text(event.headers),
            json_text(event.data) or "null",
            None if event.for_triggers is None else json_text([str(trigger) for trigger in event.for_triggers]),
            event.depth or depth_of(event.headers),
            event.occurred_at,
            event.problem,
        )
        for event in events
    ]
    return [list(column) for column in zip(*rows, strict=True)]
