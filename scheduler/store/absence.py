"""What did not happen: a Ticker writes down when it is looked for, a Dispatcher looks whether it came."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from scheduler.domain.planned import Schedule
from scheduler.domain.topic import as_regex
from scheduler.domain.watching import name_matches
from scheduler.ids import first_id
from scheduler.store.pool import json_text
from scheduler.store.queries import columns, queries
from schemas.happening_trigger import EndedSpec, MissingSpec
from schemas.vocabulary import EventSource

if TYPE_CHECKING:
    import asyncpg

    from scheduler.store.catalogue import TenantJobs
    from scheduler.store.pool import Connection

Q: Final = queries("absence")
_DAY: Final = timedelta(days=1)
_MOST_BACK: Final = timedelta(hours=50)
"""Two days, and what a change of the clocks may add."""
_CLOCKS_APART: Final = timedelta(minutes=10)
"""So far the clocks of those who make ids may be behind."""
_LONGEST_RUN: Final = timedelta(days=7)
"""A run that was made longer before the window is not looked for."""

Look = tuple[UUID, "asyncpg.Record", datetime, MissingSpec, Schedule]
"""Id of the event, row of the trigger, when it is looked, for what, and by which schedule."""


async def record_absences(db: "Connection", looks: Sequence[Look]) -> None:
    """Write down when something is looked for, and since when it may have come."""
    rows = []
    for event_id, trigger, at, missing, schedule in looks:
        data = missing.model_dump(mode="json", exclude_none=True)
        data |= {"since": _text(since(schedule, at)), "at": _text(at), "job_id": str(trigger["job_id"])}
        rows.append((event_id, trigger["tenant"], trigger["id"], trigger["job_id"], at, json_text(data)))
    if rows:
        await db.execute(Q["record_absences"], *columns(rows))


def since(schedule: Schedule, at: datetime) -> datetime:
    """Return when it was looked before ``at``, an instant of ``schedule``: a day before where it was not."""
    before = at - _DAY
    found = schedule.next_after(at - _MOST_BACK)
    while found is not None and found.fires_at < at:
        before = found.fires_at
        found = schedule.next_after(found.fires_at)
    return before


async def find_arrivals(
    db: "Connection", rows: Sequence["asyncpg.Record"], jobs: "Mapping[str, TenantJobs]"
) -> dict[UUID, str]:
    """Return of those rows that are absences, and are none, what has come."""
    found: dict[UUID, str] = {}
    for row in rows:
        if row["source"] == EventSource.ABSENCE:
            what = await _find(db, row["tenant"], row["data"], jobs[row["tenant"]])
            if what is not None:
                found[row["id"]] = what
    return found


async def _find(db: "Connection", tenant: str, data: Mapping[str, Any], jobs: "TenantJobs") -> str | None:
    begin, end = datetime.fromisoformat(data["since"]), datetime.fromisoformat(data["at"])
    if "event" in data:
        bounds = (first_id(begin - _CLOCKS_APART), begin, end)
        event = await db.fetchrow(Q["find_event"], tenant, *bounds, as_regex(data["event"]))
        if event is None:
            return None
        return f"event {event['id']} ({event['topic']}) came at {_text(event['received_at'])}"
    ended = EndedSpec.model_validate(data["ended"], extra="ignore")
    own = UUID(data["job_id"])
    ids = [job_id for name, job_id in jobs.ids_by_name.items() if name_matches(ended.job, name) and job_id != own]
    run = await db.fetchrow(Q["find_end"], ids, first_id(begin - _LONGEST_RUN), begin, end, ended.state.value)
    if run is None:
        return None
    return f"run {run['id']} of job {run['job_name']} ended as {run['state']} at {_text(run['finished_at'])}"


def _text(instant: datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")
