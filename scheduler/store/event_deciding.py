"""Decides events: matches them with triggers, and decides the firings these give; all in one transaction."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import structlog
from pydantic import TypeAdapter, ValidationError

from scheduler.domain.matching import EventTriggers, Match, Matched, Waiting
from scheduler.domain.trace import read_traceparent
from scheduler.store.catalogue import Catalogue, TenantJobs
from scheduler.store.deciding import Decided, Deciding
from scheduler.store.event_rows import event_of
from scheduler.store.offering import PaceOf
from scheduler.store.pool import json_text
from scheduler.store.queries import queries
from scheduler.store.unreadable import describe
from schemas.trigger_spec import EventTriggerSpec
from schemas.vocabulary import EventVerdict, Verdict

if TYPE_CHECKING:
    import asyncpg

    from scheduler.store.pool import Connection

log: structlog.stdlib.BoundLogger = structlog.get_logger()

Q: Final = queries("events")
_TRIGGER: Final[TypeAdapter[EventTriggerSpec]] = TypeAdapter(EventTriggerSpec)
_MOST_NAMED: Final = 5

_Fired = tuple["asyncpg.Record", Match]


@dataclass(frozen=True, slots=True)
class DecidedEvents:
    """What one transaction decided of events, and of the firings they gave."""

    verdicts: Counter[EventVerdict] = field(default_factory=Counter)
    firings: Decided = field(default_factory=Decided)


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
        triggers = await self._current(db, {row["tenant"]: row["revision"] for row in rows})
        matched = [(row, triggers[row["tenant"]].match(event_of(row))) for row in rows]
        fired = [(row, match) for row, found in matched for match in found.matches]
        spent = await _count_fires(db, fired)
        fired = [one for index, one in enumerate(fired) if index not in spent]
        firing_ids = await self._record(db, fired)
        verdicts = [_verdict(row, found, fired) for row, found in matched]
        await db.execute(
            Q["decide_events"],
            [row["id"] for row in rows],
            [verdict for verdict, _ in verdicts],
            [reason for _, reason in verdicts],
        )
        decided = await self._deciding.decide(db, firing_ids, pace_of) if firing_ids else Decided()
        return DecidedEvents(Counter(verdict for verdict, _ in verdicts), decided)

    async def _current(self, db: "Connection", revisions: Mapping[str, int]) -> Mapping[str, EventTriggers]:
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

    async def _record(self, db: "Connection", fired: Sequence[_Fired]) -> list[UUID]:
        """Write the firings; return those that are owed a verdict."""
        ids = [self._new_id() for _ in fired]
        if fired:
            await db.execute(
                Q["record_firings"],
                ids,
                [row["tenant"] for row, _ in fired],
                [match.trigger.id for _, match in fired],
                [row["id"] for row, _ in fired],
                [match.trigger.job_id for _, match in fired],
                [match.trigger.job_version for _, match in fired],
                [row["received_at"] for row, _ in fired],
                [json_text(match.params) for _, match in fired],
                [None if match.problem is None else Verdict.INVALID for _, match in fired],
                [match.problem for _, match in fired],
                [_trace_of(row) for row, _ in fired],
            )
        return [firing_id for firing_id, (_, match) in zip(ids, fired, strict=True) if match.problem is None]


async def _count_fires(db: "Connection", fired: Sequence[_Fired]) -> set[int]:
    """Count what is fired of triggers with ``max_fires``; return the indexes of what is beyond it."""
    limited = {match.trigger.id: match.trigger.spec.max_fires for _, match in fired if match.trigger.spec.max_fires}
    if not limited:
        return set()
    left = {
        row["id"]: (limited[row["id"]] or 0) - row["fired"] for row in await db.fetch(Q["count_fires"], list(limited))
    }
    beyond: set[int] = set()
    used: Counter[UUID] = Counter()
    for index, (_, match) in enumerate(fired):
        trigger = match.trigger.id
        if trigger in limited and used[trigger] >= left.get(trigger, 0):
            beyond.add(index)
        elif trigger in limited:
            used[trigger] += 1
    await db.execute(Q["add_fires"], list(used), list(used.values()))
    return beyond


def _trace_of(row: "asyncpg.Record") -> str | None:
    """Return the trace that the sender of an event has given, as a header or as a CloudEvents attribute."""
    headers = row["headers"] or {}
    return read_traceparent(headers.get("traceparent")) or read_traceparent(headers.get("ce_traceparent"))


def _verdict(row: "asyncpg.Record", found: Matched, fired: Iterable[_Fired]) -> tuple[EventVerdict, str | None]:
    """Return the verdict of an event, and its reason: what keeps each trigger that has its topic from a run."""
    own = [match for event, match in fired if event is row]
    beyond = [f"{m.trigger.named}: max_fires is reached" for m in found.matches if not any(m is match for match in own)]
    problems = [f"{match.trigger.named}: {match.problem}" for match in own if match.problem is not None]
    said = [*problems, *beyond, *found.notes]
    more = f"; and {len(said) - _MOST_NAMED} more" if len(said) > _MOST_NAMED else ""
    reason = "; ".join(said[:_MOST_NAMED]) + more if said else None
    if len(own) > len(problems):
        return EventVerdict.STARTED, reason
    if problems:
        return EventVerdict.INVALID, reason
    return EventVerdict.UNMATCHED, reason or "no trigger waits for it"


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
