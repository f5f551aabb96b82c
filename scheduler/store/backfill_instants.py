"""The past of a job's triggers: which instants the versions of its definition planned, and what the ledger says."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

from scheduler.domain.backfill import MOST_INSTANTS, Ledger, LedgerRow, Missing, Period, periods, select, walk
from scheduler.domain.calendar import Calendar, calendar_from
from scheduler.domain.calendar_sources import calendar_names
from scheduler.domain.planned import PlannedInstant, Schedule
from scheduler.domain.schedule import build_schedule
from scheduler.store.catalogue import Catalogue
from scheduler.store.pool import json_text
from scheduler.store.queries import queries
from schemas.calendar_trigger import CalendarTrigger
from schemas.job_spec import JobSpec
from schemas.trigger_spec import TIME_KINDS, EveryTrigger, TimeTriggerSpec
from schemas.vocabulary import Verdict

if TYPE_CHECKING:
    import asyncpg

    from scheduler.store.pool import Connection

Q: Final = queries("backfills")


@dataclass(frozen=True, slots=True)
class Planned:
    """Instants of one trigger within one period."""

    trigger_id: UUID
    key: str
    period: Period
    params: str | None
    """JSON text of the trigger's params, to be filled."""
    instants: Sequence[PlannedInstant]


class Part(NamedTuple):
    """Part of a period, both ends included, with the calendars in force."""

    first: datetime
    last: datetime
    calendars: Mapping[str, Calendar]


@dataclass(frozen=True, slots=True)
class Past:
    """The triggers by time that a job has or had, and the versions of its definition that can be read."""

    job: str
    triggers: Mapping[str, "asyncpg.Record"]
    """By key."""
    versions: Sequence[tuple[datetime, int]]
    """Applied at, number; ascending."""
    specs: Mapping[int, JobSpec]
    calendars: Mapping[str, Sequence[tuple[datetime, Calendar]]]
    """Applied at, data; ascending; by name."""

    @classmethod
    async def read(cls, db: "Connection", tenant: str, job: str) -> "Past":
        triggers = {row["key"]: row for row in await db.fetch(Q["list_triggers"], tenant, job, list(TIME_KINDS))}
        ids = {row["job_id"] for row in triggers.values()}
        rows = await db.fetch(Q["list_versions"], list(ids))
        specs = await Catalogue().versions(db, [(row["job_id"], row["version"]) for row in rows])
        versions = [(row["applied_at"], row["version"]) for row in rows]
        calendars: dict[str, list[tuple[datetime, Calendar]]] = {}
        for row in await db.fetch(Q["list_calendar_versions"], tenant, calendar_names(specs.values())):
            calendar = calendar_from(row["name"], row["version"], row["data"])
            calendars.setdefault(row["name"], []).append((row["applied_at"], calendar))
        return cls(job, triggers, versions, {version: spec for (_, version), spec in specs.items()}, calendars)

    @property
    def reached(self) -> datetime | None:
        """Up to when all triggers of today are planned; None: it has none."""
        return min((row["last_at"] for row in self.triggers.values() if row["is_current"]), default=None)

    def plan(self, since: datetime, until: datetime) -> list[Planned]:
        """Return the instants from ``since`` to ``until``, each by the definition and the calendar in force then.

        Raises:
            TooManyInstantsError: there are more than MOST_INSTANTS.
        """
        found: list[Planned] = []
        left = MOST_INSTANTS
        for period in periods(self.versions, since, until):
            spec = self.specs.get(period.version)
            for _, trigger in spec.time_triggers if spec is not None else ():
                row = self.triggers.get(trigger.key)
                if spec is None or row is None or not trigger.enabled:
                    continue
                for first, last, schedule in self._schedules(trigger, spec, row, period):
                    instants = walk(schedule, first, min(last, row["last_at"]) if row["is_current"] else last, left)
                    left -= len(instants)
                    if isinstance(trigger, EveryTrigger) and trigger.anchor is None:  # nobody planned the apply itself
                        instants = [at for at in instants if at.fires_at != row["anchor_at"]]
                    found.append(Planned(row["id"], trigger.key, period, json_text(trigger.params or None), instants))
        return found

    def _schedules(
        self, trigger: TimeTriggerSpec, spec: JobSpec, row: "asyncpg.Record", period: Period
    ) -> Iterator[tuple[datetime, datetime, Schedule]]:
        """Yield the schedules of a trigger within ``period``, one for each version of its calendar.

        One that cannot be read here is left out.
        """
        name = trigger.calendar.calendar_name if isinstance(trigger, CalendarTrigger) else None
        known = [] if name is None else self.calendars.get(name, ())
        parts = [Part(period.first, period.last, {})]
        if name is not None and known:
            cut = periods([(at, index) for index, (at, _) in enumerate(known)], period.first, period.last)
            parts = [Part(part.first, part.last, {name: known[part.version][1]}) for part in cut]
        zone, hash_key = spec.timezone_of(trigger), f"{row['tenant']}/{self.job}"
        for first, last, calendars in parts:
            with suppress(ValueError):
                schedule = build_schedule(
                    trigger, timezone=zone, hash_key=hash_key, anchor=row["anchor_at"], calendars=calendars
                )
                yield first, last, schedule


async def find_missing(
    db: "Connection", past: Past, planned: Sequence[Planned], *, again: bool
) -> list[tuple[Planned, Missing]]:
    """Return what of ``planned`` did not start, or with ``again`` all; no more than max_fires leaves."""
    ids = [row["id"] for row in past.triggers.values()]
    times = [at.fires_at for part in planned for at in part.instants]
    if not times:
        return []
    rows: dict[UUID, list[LedgerRow]] = {}
    for firing in await db.fetch(Q["list_ledger"], ids, min(times), max(times)):
        verdict = None if firing["verdict"] is None else Verdict(firing["verdict"])
        row = LedgerRow(firing["id"], firing["fires_at"], firing["to_at"], firing["wall_time"], verdict)
        rows.setdefault(firing["trigger_id"], []).append(row)
    for of_trigger in rows.values():
        of_trigger.sort(key=lambda row: row.fires_at)
    taken: dict[UUID, set[tuple[datetime, str]]] = {}
    for trigger_id, at, wall in await db.fetch(Q["list_taken"], ids, min(times), max(times), not again):
        taken.setdefault(trigger_id, set()).add((at, wall))
    left = {row["id"]: row["left_to_fire"] for row in past.triggers.values() if row["left_to_fire"] is not None}
    left = {trigger_id: count - len(taken.get(trigger_id, ())) for trigger_id, count in left.items()}
    found = []
    for part in planned:
        ledger = Ledger(rows.get(part.trigger_id, ()), taken.get(part.trigger_id, frozenset()))
        missing = select(part.instants, ledger, again=again)
        found += [(part, one) for one in _within(missing, left, part.trigger_id)]
    return found


def _within(missing: Iterator[Missing], left: dict[UUID, int], trigger_id: UUID) -> Iterator[Missing]:
    """Yield what started before, and of the rest as many as are left of max_fires, the oldest first."""
    for one in missing:
        if trigger_id in left and (one.row is None or one.row.verdict is not Verdict.STARTED):
            if left[trigger_id] <= 0:
                continue
            left[trigger_id] -= 1
        yield one
