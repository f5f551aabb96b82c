"""Applies calendars: their versions, the triggers that are planned by them, and which firings that moves.

The data of a calendar, holidays included, are worked out by whoever applies it and stored as a
version. Whoever plans reads that version, so that all Tickers agree whatever they have installed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from pydantic import TypeAdapter

from scheduler.clock import Clock
from scheduler.domain.calendar import Calendar, calendar_document, calendar_from
from scheduler.domain.calendar_changes import moved_firings
from scheduler.domain.calendar_sources import implied
from scheduler.domain.planned import Schedule
from scheduler.domain.schedule import build_schedule
from scheduler.errors import DefinitionsError
from scheduler.store.queries import columns, queries
from scheduler.store.trigger_rows import Planner
from schemas.calendar_spec import CalendarSpec
from schemas.trigger_spec import TimeTriggerSpec

if TYPE_CHECKING:
    import asyncpg

    from scheduler.store.pool import Connection

Q: Final = queries("calendars")
_LOCK_TRIGGERS: Final = queries("definitions")["lock_triggers"]
_TAKE_BACK: Final = queries("definitions")["take_back"]
_TRIGGER: Final[TypeAdapter[TimeTriggerSpec]] = TypeAdapter(TimeTriggerSpec)


@dataclass(frozen=True, slots=True)
class TriggerMoves:
    """The firings that a new version of a calendar takes from a trigger and gives to it, in the next 90 days."""

    job: str
    trigger: str
    removed: tuple[datetime, ...]
    added: tuple[datetime, ...]


@dataclass(frozen=True, slots=True)
class CalendarChange:
    """A calendar that was made or got a new version."""

    name: str
    version: int
    moves: list[TriggerMoves] = field(default_factory=list)


class CalendarRows:
    """The calendars of one change of a tenant's definitions, within its transaction."""

    def __init__(self, db: "Connection", tenant: str, held: "Sequence[asyncpg.Record]") -> None:
        self._db = db
        self._tenant = tenant
        self._held = {row["name"]: row for row in held}
        self.before: Mapping[str, Calendar] = {
            name: calendar_from(name, row["version"], row["data"]) for name, row in self._held.items()
        }
        """As they stood, deleted ones included: triggers that go were planned by them."""
        self.now: dict[str, Calendar] = dict(self.before)
        """As they are to be."""
        self.changes: dict[str, CalendarChange] = {}

    @classmethod
    async def lock(cls, db: "Connection", tenant: str) -> "CalendarRows":
        """Read and lock the tenant's calendars; its tenants row is locked already."""
        return cls(db, tenant, await db.fetch(Q["lock_calendars"], tenant))

    async def write(
        self, specs: Mapping[str, CalendarSpec], resolved: Mapping[str, Calendar], source: str | None
    ) -> None:
        """Make the calendars of ``resolved`` so; a new version for each that differs, in spec or in data."""
        written: list[tuple[str, int, str | None]] = []
        versions: list[tuple[str, int, dict[str, Any], dict[str, Any], Any]] = []
        for name, calendar in resolved.items():
            row = self._held.get(name)
            spec = (specs.get(name) or implied(name)).model_dump(mode="json", exclude_defaults=True)
            data = calendar_document(calendar)
            differs = row is None or row["spec"] != spec or row["data"] != data
            version = (row["version"] if row else 0) + differs
            owner = source if name in specs else None
            if differs:
                versions.append((name, version, spec, data, calendar.runs_out))
            if differs or (row is not None and (row["deleted"] or row["source"] != owner)):
                written.append((name, version, owner))
            if differs or (row is not None and row["deleted"]):
                self.changes[name] = CalendarChange(name, version)
            self.now[name] = calendar_from(name, version, data)
        await self._db.execute(Q["write_calendars"], self._tenant, *columns(written, 3))
        await self._db.execute(Q["insert_calendar_versions"], self._tenant, *columns(versions, 5))

    def planner(self, clock: Clock) -> Planner:
        """Return a planner of triggers by these calendars."""
        return Planner(self._tenant, clock, self.now, self.before)

    async def move_triggers(self, now: datetime) -> None:
        """Have every trigger planned by the calendar that is in force, and note which of its firings move.

        What was due and is not planned yet is caught up by the new calendar; what only the new one
        has in the past is not made up for.
        """
        names = list(self.now)
        versions = [self.now[name].version for name in names]
        rows = await self._db.fetch(Q["lock_calendar_triggers"], self._tenant, names, versions)
        if rows:
            jobs = [row["job_id"] for row in rows]
            await self._db.execute(_LOCK_TRIGGERS, jobs)
            if await self._db.fetch(_TAKE_BACK, self._tenant, jobs, now):
                rows = await self._db.fetch(Q["lock_calendar_triggers"], self._tenant, names, versions)
        moved = []
        for row in rows:
            try:
                moved.append(self._moved(row, now))
            except ValueError:  # stored by a newer program, or its zone is not on this machine: the Ticker says so
                moved.append((row["id"], self.now[row["calendar"]].version, row["last_at"], now))
        await self._db.execute(Q["move_calendar_triggers"], *columns(moved, 4))

    async def remove(self, source: str | None, wanted: Iterable[str], *, prune: bool) -> list[str]:
        """Remove what ``source`` applied before and does not name now, and countries no trigger names.

        Raises:
            DefinitionsError: a trigger still uses one that would go.
        """
        kept = set(wanted)
        there = {name: row for name, row in self._held.items() if not row["deleted"] and name not in kept}
        gone = [name for name, row in there.items() if prune and source is not None and row["source"] == source]
        countries = [name for name in there if name[:1].isupper()]
        users = await self._db.fetch(Q["list_calendar_users"], self._tenant, [*gone, *countries])
        if problems := [
            {
                "path": f"calendars.{row['calendar']}",
                "message": f"cannot be removed, trigger {row['trigger']} of job {row['job']} uses it",
            }
            for row in users
            if row["calendar"] in gone
        ]:
            raise DefinitionsError([f"{problem['path']}: {problem['message']}" for problem in problems], problems)
        used = {row["calendar"] for row in users}
        await self._db.execute(Q["delete_calendars"], self._tenant, [*gone, *(n for n in countries if n not in used)])
        return sorted(gone)

    def _moved(self, row: "asyncpg.Record", now: datetime) -> tuple[UUID, int, datetime, datetime | None]:
        calendar = self.now[row["calendar"]]
        trigger = _TRIGGER.validate_python(row["spec"], extra="ignore")
        schedule = self._schedule(row, trigger, self.now)
        old = self.before.get(row["calendar"])
        if old is not None and old.version == row["calendar_version"]:
            found = moved_firings(self._schedule(row, trigger, self.before), schedule, since=now)
            if found and row["calendar"] in self.changes:
                moves = TriggerMoves(row["job"], row["key"], found.removed, found.added)
                self.changes[row["calendar"]].moves.append(moves)
        if trigger.max_fires is not None and row["fired"] >= trigger.max_fires:
            return row["id"], calendar.version, row["last_at"], None
        ran_out = row["next_at"] is None and old is not None and old.last < now.date()
        owed = ran_out or row["trouble"] is not None or (row["next_at"] is not None and row["next_at"] <= now)
        last_at = row["last_at"] if owed else max(row["last_at"], now)
        following = schedule.next_after(last_at)
        return row["id"], calendar.version, last_at, following.fires_at if following else None

    def _schedule(self, row: "asyncpg.Record", trigger: TimeTriggerSpec, calendars: Mapping[str, Calendar]) -> Schedule:
        return build_schedule(
            trigger,
            timezone=trigger.timezone or row["timezone"],
            hash_key=f"{self._tenant}/{row['job']}",
            anchor=row["anchor_at"],
            calendars=calendars,
        )
