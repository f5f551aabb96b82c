"""Decides events: matches them with triggers, and decides the firings these give; all in one transaction."""

from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import structlog
from pydantic import TypeAdapter, ValidationError

from scheduler.domain.gathering import Placed, incomplete
from scheduler.domain.matching import Event, EventTriggers, Match, Matched, Waiting
from scheduler.domain.trace import read_traceparent
from scheduler.store.absence import find_arrivals
from scheduler.store.catalogue import Catalogue, TenantJobs
from scheduler.store.deciding import Decided, Deciding
from scheduler.store.event_rows import event_of
from scheduler.store.gathering import Fired, Gathering, fill_gathered
from scheduler.store.offering import PaceOf
from scheduler.store.pool import json_text
from scheduler.store.queries import columns, queries
from scheduler.store.unreadable import describe
from schemas.trigger_spec import EventTriggerSpec
from schemas.vocabulary import EventSource, EventVerdict, Verdict

if TYPE_CHECKING:
    import asyncpg

    from scheduler.store.pool import Connection

log: structlog.stdlib.BoundLogger = structlog.get_logger()

Q: Final = queries("events")
_TRIGGER: Final[TypeAdapter[EventTriggerSpec]] = TypeAdapter(EventTriggerSpec)
_MOST_NAMED: Final = 5

_EVENT_VERDICTS: Final = frozenset(map(str, EventVerdict))
_GOES_ON: Final = frozenset({None, Verdict.COLLECTED, Verdict.DEBOUNCED})
"""What is placed so leads to a run, be it that of a later event."""


@dataclass(frozen=True, slots=True)
class DecidedEvents:
    """What one transaction decided of events, and of the firings they gave."""

    verdicts: Counter[EventVerdict] = field(default_factory=Counter)
    firings: Decided = field(default_factory=Decided)
    complete: Sequence[UUID] = ()
    """Gathered events that are to be decided now, in a transaction of their own."""


class EventDeciding:
    """Gives events their verdicts, and their firings to ``Deciding``."""

    def __init__(self, catalogue: Catalogue, deciding: Deciding, new_id: Callable[[], UUID]) -> None:
        self._catalogue = catalogue
        self._deciding = deciding
        self._new_id = new_id
        self._triggers: dict[str, tuple[int, EventTriggers]] = {}

    async def decide(self, db: "Connection", event_ids: Sequence[UUID], pace_of: PaceOf) -> DecidedEvents:
        """Decide the events of ``event_ids`` that have no verdict yet."""
        rows = await db.fetch(Q["lock_undecided"], event_ids)
        if not rows:
            return DecidedEvents()
        triggers = await self.current(db, {row["tenant"]: row["revision"] for row in rows})
        events = {event.id: event for event in await self._whole(db, rows)}
        matched = [(row, triggers[row["tenant"]].match(events[row["id"]])) for row in rows]
        arrived = await find_arrivals(db, rows, self._catalogue.loaded)
        fired = [
            (row, events[row["id"]], _arrived(match, arrived.get(row["id"])))
            for row, found in matched
            for match in found.matches
        ]
        gathering = Gathering(fired, self._new_id)
        await gathering.place(db)
        spent = await _count_fires(db, fired, gathering.places)
        for index in spent:
            gathering.places[index] = Placed(Verdict.SUPERSEDED, "max_fires is reached")
        firing_ids = await self._record(db, fired, gathering.places, spent)
        verdicts = [_verdict(row, found, fired, gathering.places) for row, found in matched]
        await db.execute(
            Q["decide_events"],
            [row["id"] for row in rows],
            [verdict for verdict, _ in verdicts],
            [reason for _, reason in verdicts],
        )
        decided = await self._deciding.decide(db, firing_ids, pace_of) if firing_ids else Decided()
        return DecidedEvents(Counter(verdict for verdict, _ in verdicts), decided, gathering.complete)

    async def _whole(self, db: "Connection", rows: Sequence["asyncpg.Record"]) -> list[Event]:
        """Return the events, those that stand for several with what they stand for."""
        gathered = {row["id"]: row["data"] for row in rows if row["source"] == EventSource.GATHERED}
        gaps = {event_id: why for event_id, data in gathered.items() if (why := incomplete(data)) is not None}
        filled = await fill_gathered(db, gathered)
        events = []
        for row in rows:
            event = event_of(row)
            if row["id"] in filled:
                data, depth = filled[row["id"]]
                event = replace(event, data=data, depth=depth, gap=gaps.get(row["id"]))
            events.append(event)
        return events

    async def current(self, db: "Connection", revisions: Mapping[str, int]) -> Mapping[str, EventTriggers]:
        """Return the triggers of the tenants in ``revisions``, which ``db`` has just read."""
        found: dict[str, EventTriggers] = {}
        jobs = await self._catalogue.current(db, revisions)
        for tenant, revision in revisions.items():
            known = self._triggers.get(tenant)
            if known is None or known[0] != revision:
                rows = await db.fetch(Q["list_triggers"], tenant)
                known = self._triggers[tenant] = revision, EventTriggers(_waiting(tenant, rows, jobs[tenant]))
            found[tenant] = known[1]
        return found

    async def _record(
        self, db: "Connection", fired: Sequence[Fired], places: Sequence[Placed], spent: Container[int]
    ) -> list[UUID]:
        """Write the firings but for those in ``spent``; return those that are owed a verdict now."""
        rows: list[tuple[Any, ...]] = []
        owed: list[UUID] = []
        for index, ((row, _, match), place) in enumerate(zip(fired, places, strict=True)):
            if index in spent:
                continue
            verdict = place.verdict if match.problem is None else match.verdict
            firing_id = self._new_id()
            rows.append((
                firing_id, row["tenant"], match.trigger.id, row["id"], match.trigger.job_id, match.trigger.job_version,
                row["received_at"], json_text(match.params), verdict, match.problem or place.reason, _trace_of(row),
                place.hold_key, place.hold_s,
            ))  # fmt: skip
            if verdict is None and place.hold_s is None:
                owed.append(firing_id)
        if rows:
            await db.execute(Q["record_firings"], *columns(rows))
        return owed


def _arrived(match: Match, what: str | None) -> Match:
    """Return the match of an absence, which starts nothing if ``what`` was looked for has come."""
    return match if what is None else replace(match, params=None, problem=what, verdict=Verdict.ARRIVED)


async def _count_fires(db: "Connection", fired: Sequence[Fired], places: Sequence[Placed]) -> set[int]:
    """Count what is fired of triggers with ``max_fires``; return the indexes of what is beyond it."""
    counted = [
        (index, match.trigger)
        for index, ((_, _, match), place) in enumerate(zip(fired, places, strict=True))
        if match.trigger.spec.max_fires and place.verdict is None and match.verdict is not Verdict.ARRIVED
    ]
    if not counted:
        return set()
    limits = {trigger.id: trigger.spec.max_fires or 0 for _, trigger in counted}
    left = {row["id"]: limits[row["id"]] - row["fired"] for row in await db.fetch(Q["count_fires"], list(limits))}
    beyond: set[int] = set()
    used: Counter[UUID] = Counter()
    for index, trigger in counted:
        if used[trigger.id] >= left.get(trigger.id, 0):
            beyond.add(index)
        else:
            used[trigger.id] += 1
    await db.execute(Q["add_fires"], list(used), list(used.values()))
    return beyond


def _trace_of(row: "asyncpg.Record") -> str | None:
    """Return the trace that the sender of an event has given, as a header or as a CloudEvents attribute."""
    headers = row["headers"] or {}
    return read_traceparent(headers.get("traceparent")) or read_traceparent(headers.get("ce_traceparent"))


def _verdict(
    row: "asyncpg.Record", found: Matched, fired: Sequence[Fired], places: Sequence[Placed]
) -> tuple[EventVerdict, str | None]:
    """Return the verdict of an event, and its reason: what keeps each trigger that has its topic from a run."""
    own = [(match, place) for (event, _, match), place in zip(fired, places, strict=True) if event is row]
    kept = [
        (match.verdict if match.problem is not None else place.verdict, match, match.problem or place.reason)
        for match, place in own
        if match.problem is not None or place.verdict not in _GOES_ON
    ]
    said = [*(f"{match.trigger.named}: {why}" for _, match, why in kept), *found.notes]
    more = f"; and {len(said) - _MOST_NAMED} more" if len(said) > _MOST_NAMED else ""
    reason = "; ".join(said[:_MOST_NAMED]) + more if said else None
    if len(own) > len(kept):
        return EventVerdict.STARTED, reason
    words = [verdict for verdict, _, _ in kept if verdict in _EVENT_VERDICTS]
    return EventVerdict(words[0]) if words else EventVerdict.UNMATCHED, reason or "no trigger waits for it"


def _waiting(tenant: str, rows: "Iterable[asyncpg.Record]", jobs: TenantJobs) -> Iterable[Waiting]:
    """Yield the triggers that this program can read; the others are logged, once for each change of definitions."""
    for row in rows:
        try:
            # As in messages, a key that a newer program has stored must not stop this one.
            spec: Any = _TRIGGER.validate_python(row["spec"], extra="ignore")
        except ValidationError as error:
            log.error("trigger.unreadable", tenant=tenant, trigger_id=str(row["id"]), error=describe(error))
            continue
        yield Waiting(row["id"], row["job_id"], row["job_version"], row["key"], spec, jobs.by_id.get(row["job_id"]))
