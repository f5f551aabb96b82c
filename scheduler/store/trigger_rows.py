"""Works out the rows of triggers when definitions change: which cursor stays, which begins anew."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from pydantic import TypeAdapter

from scheduler.clock import Clock
from scheduler.domain.calendar import Calendar
from scheduler.domain.due import DueInstants
from scheduler.domain.planned import PlannedInstant, Schedule, is_counted
from scheduler.domain.schedule import build_schedule
from scheduler.domain.zones import TZDATA_VERSION
from scheduler.ids import uuid7
from schemas.happening_trigger import MissingTrigger
from schemas.job_spec import JobSpec
from schemas.trigger_model import TimeTriggerModel
from schemas.trigger_spec import PlannedTriggerSpec, TriggerSpec

_TRIGGER: Final[TypeAdapter[PlannedTriggerSpec]] = TypeAdapter(PlannedTriggerSpec)
_NOT_TIMES: Final = frozenset({"id", "params", "catch_up", "enabled"})
"""Keys of a trigger whose change leaves its times alone."""
_MOST_COUNTED: Final = 10_000
"""Instants visited of what cannot be counted when it is superseded; beyond, the count is a lower bound."""


@dataclass(frozen=True, slots=True)
class TriggerRow:
    """A row of ``triggers``."""

    id: UUID
    job_id: UUID
    job_version: int
    key: str
    kind: str
    spec: dict[str, Any]
    enabled: bool
    anchor_at: datetime
    last_at: datetime
    next_at: datetime | None
    fired: int
    removed: bool = False
    trouble: str | None = None
    """Why it could not be planned: ``next_at`` is then when to try again."""
    tzdata: str | None = None
    """Version of the zone data that computed ``next_at``."""


class Planner:
    """Gathers what is to be written for the triggers of one change, as columns for ``unnest``."""

    def __init__(
        self, tenant: str, clock: Clock, calendars: Mapping[str, Calendar], before: Mapping[str, Calendar]
    ) -> None:
        """``calendars`` are those in force from now on, ``before`` those that were until now."""
        self.now = clock.now()
        self.removed: list[UUID] = []
        self._tenant = tenant
        self._clock = clock
        self._calendars = calendars
        self._before = before
        self._rows: list[TriggerRow] = []
        self._superseded: list[tuple[Any, ...]] = []
        self._outdated: dict[UUID, str] = {}

    def replan(
        self, job_id: UUID, job: str, version: int, spec: JobSpec, rows: Iterable[TriggerRow], *, old_zone: str
    ) -> None:
        """Take the triggers of ``spec`` over ``rows``, those that the job had (its zone was ``old_zone``)."""
        known = {row.key: row for row in rows}
        for trigger in spec.triggers:
            words = trigger.model_dump(mode="json", exclude_defaults=True)
            row = known.pop(trigger.key, None)
            zone = spec.timezone_of(trigger)
            kept = row is not None and not row.removed and _times(row.spec, old_zone) == _times(words, spec.timezone)
            if row is not None and kept:
                next_at, last_at, anchor = row.next_at, row.last_at, row.anchor_at
            else:
                if row is not None:
                    self._supersede(row, job, version, old_zone, "the trigger was changed before this was")
                anchor = row.anchor_at if row is not None and not row.removed else self.now
                spent = row is not None and trigger.max_fires is not None and row.fired >= trigger.max_fires
                next_at, last_at = None if spent else self._first(trigger, job, zone, anchor), self.now
            self._rows.append(
                TriggerRow(
                    id=row.id if row is not None else uuid7(self._clock),
                    job_id=job_id,
                    job_version=version,
                    key=trigger.key,
                    kind=trigger.kind.value,
                    spec=words,
                    enabled=trigger.enabled,
                    anchor_at=anchor,
                    last_at=last_at,
                    next_at=next_at,
                    fired=row.fired if row is not None else 0,
                    tzdata=row.tzdata if row is not None and kept else TZDATA_VERSION,
                )
            )
        for row in known.values():
            self.remove(row, job, version, old_zone)

    def _first(self, trigger: TriggerSpec, job: str, zone: str, anchor: datetime) -> datetime | None:
        """Return when ``trigger`` fires first; None: never, or not by the clock."""
        if not isinstance(trigger, TimeTriggerModel | MissingTrigger):
            return None
        hash_key = f"{self._tenant}/{job}"
        schedule = build_schedule(trigger, timezone=zone, hash_key=hash_key, anchor=anchor, calendars=self._calendars)
        first = schedule.next_after(self.now)
        return None if first is None else first.fires_at

    def remove(self, row: TriggerRow, job: str, version: int, zone: str) -> None:
        """Take a trigger away; its ledger stays."""
        if not row.removed:
            self.removed.append(row.id)
            self._supersede(row, job, version, zone, "the trigger was removed before this was")

    def written(self) -> list[list[Any]]:
        """Return the columns of the triggers to write."""
        rows = self._rows
        return [
            [row.id for row in rows],
            [row.job_id for row in rows],
            [row.job_version for row in rows],
            [row.key for row in rows],
            [row.kind for row in rows],
            [row.spec for row in rows],
            [row.enabled for row in rows],
            [row.anchor_at for row in rows],
            [row.last_at for row in rows],
            [row.next_at for row in rows],
            [row.fired for row in rows],
            [row.tzdata for row in rows],
        ]

    def superseded(self) -> list[Sequence[Any]]:
        """Return the columns of the ledger rows to write."""
        columns = 10
        return [[row[at] for row in self._superseded] for at in range(columns)]

    def outdated(self) -> tuple[list[UUID], list[str]]:
        """Return the triggers that are changed or removed, and why what pacing holds of them will not start."""
        return list(self._outdated), list(self._outdated.values())

    def _supersede(self, row: TriggerRow, job: str, version: int, zone: str, why: str) -> None:
        """Account for what was due: held by pacing, or not planned, which is one stretch."""
        if row.removed:
            return
        self._outdated[row.id] = f"{why} let go"
        reason = f"{why} planned"
        if row.next_at is None or (row.next_at > self.now and row.trouble is None):
            return
        try:
            trigger = _TRIGGER.validate_python(row.spec, extra="ignore")
            schedule = build_schedule(
                trigger,
                timezone=trigger.timezone or zone,
                hash_key=f"{self._tenant}/{job}",
                anchor=row.anchor_at,
                calendars=self._before,
            )
            first, last, count = _stretch(schedule, row.last_at, self.now)
        except ValueError as error:  # stored by a newer program, or its zone is not on this machine
            first = last = PlannedInstant(self.now, self.now.replace(tzinfo=None).isoformat(), "UTC")
            count, reason = 1, f"{reason}; how often it was due is not known, it cannot be read: {error}"
        if first is not None and last is not None:
            start = (first.fires_at, last.fires_at, count, first.wall_time, first.zone)
            self._superseded.append((uuid7(self._clock), row.id, row.job_id, version, *start, reason))


def _times(words: dict[str, Any], zone: str) -> dict[str, Any]:
    """Return what decides when a trigger fires."""
    return {"timezone": zone} | {key: value for key, value in words.items() if key not in _NOT_TIMES}


def _stretch(
    schedule: Schedule, since: datetime, now: datetime
) -> tuple[PlannedInstant | None, PlannedInstant | None, int]:
    """Return the first and the last instant in (since, now], and how many there are."""
    due = schedule if is_counted(schedule) else DueInstants(schedule, since, now, _MOST_COUNTED)
    begin, end = due.index_after(since), due.index_after(now)
    return (due.nth(begin), due.nth(end - 1), end - begin) if begin < end else (None, None, 0)
