"""Stored calendars: what commands and health read of them, and the versions that schedules are made from."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final

from scheduler.domain.calendar import END, WARN_AHEAD, Calendar, NoDataError, calendar_from, weekday_names
from scheduler.errors import NotFoundError
from scheduler.store.queries import columns, queries
from scheduler.store.stores import Store
from schemas.calendar_spec import CalendarSpec

if TYPE_CHECKING:
    import asyncpg

    from scheduler.store.pool import Connection

Q: Final = queries("calendars")
_KEPT: Final = 1000
"""Versions held by a Ticker; then it starts anew. One takes 200 KB."""
_Key = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class StoredCalendar:
    """A calendar as it is now."""

    calendar: Calendar
    spec: CalendarSpec
    source: str | None
    applied_at: datetime
    used_by: tuple[str, ...]
    """Jobs whose triggers name it, sorted."""


@dataclass(frozen=True, slots=True)
class EndingCalendar:
    """A calendar whose data end soon, or have ended."""

    tenant: str
    name: str
    last_day: date


class CalendarVersions:
    """The calendars that triggers of one store were planned by; a version never changes, so it is read once."""

    def __init__(self) -> None:
        self._known: dict[_Key, Calendar] = {}

    async def load(self, db: "Connection", wanted: Iterable[_Key]) -> Mapping[_Key, Calendar]:
        """Return the calendars (tenant, name, version); those that do not exist are left out."""
        missing = sorted({key for key in wanted if key not in self._known})
        if missing:
            if len(self._known) + len(missing) > _KEPT:
                self._known.clear()
            for row in await db.fetch(Q["get_calendar_versions"], *columns(missing)):
                key = row["tenant"], row["name"], row["version"]
                self._known[key] = calendar_from(row["name"], row["version"], row["data"])
        return self._known


async def list_calendars(store: Store, tenant: str) -> dict[str, StoredCalendar]:
    """Return every calendar of ``tenant`` by name, countries that triggers name included, by their codes."""
    async with store.connection() as db:
        rows = await db.fetch(Q["list_calendars"], tenant, None)
        users = await db.fetch(Q["list_calendar_users"], tenant, None)
    return {row["name"]: _stored(row, users) for row in rows}


async def get_calendar(store: Store, tenant: str, name: str) -> StoredCalendar:
    """Return one calendar.

    Raises:
        NotFoundError: there is none.
    """
    async with store.connection() as db:
        rows = await db.fetch(Q["list_calendars"], tenant, name)
        users = await db.fetch(Q["list_calendar_users"], tenant, [name])
    if not rows:
        raise NotFoundError(f"there is no calendar {name}")
    return _stored(rows[0], users)


async def list_calendar_specs(store: Store, tenant: str) -> dict[str, CalendarSpec]:
    """Return the calendars that definitions of ``tenant`` made, by name, as they were written."""
    async with store.connection() as db:
        rows = await db.fetch(Q["list_calendar_specs"], tenant)
    return {row["name"]: CalendarSpec.model_validate(row["spec"], extra="ignore") for row in rows}


async def load_calendars(store: Store, tenant: str) -> dict[str, Calendar]:
    """Return the calendars of ``tenant`` as they are now: what build_schedule takes."""
    return {name: stored.calendar for name, stored in (await list_calendars(store, tenant)).items()}


async def list_ending(store: Store, tenant: str | None, today: date) -> list[EndingCalendar]:
    """Return the calendars, of ``tenant`` or of all, that people should be told of today."""
    async with store.connection() as db:
        rows = await db.fetch(Q["list_ending_calendars"], tenant, today + WARN_AHEAD)
    return [EndingCalendar(**row) for row in rows]


def calendar_row(stored: StoredCalendar) -> dict[str, Any]:
    """Return a calendar as commands and answers show it."""
    found = stored.calendar
    weekend = frozenset().union(*(part.weekend for part in found.parts))
    return {
        "name": found.name,
        "version": found.version,
        "definition": stored.spec.model_dump(mode="json", exclude_defaults=True),
        "weekend": list(weekday_names(weekend)),
        "first_day": found.first.isoformat() if found.source else None,
        "last_day": found.last.isoformat() if found.last < END else None,
        "runs_out": found.runs_out.isoformat() if found.runs_out else None,
        "holidays_from": found.source or None,
        "source": stored.source,
        "used_by": list(stored.used_by),
        "applied_at": stored.applied_at,
    }


def closed_days(stored: StoredCalendar, year: int) -> dict[str, Any]:
    """Return the closed days of ``year`` with their names, and the days that are open although they would not be.

    Raises:
        NotFoundError: there are no data of that year, which is not a year without holidays.
    """
    try:
        days = list(stored.calendar.closed_days(date(year, 1, 1), date(year, 12, 31)))
    except NoDataError as error:
        raise NotFoundError(str(error)) from None
    opened = sorted(day for part in stored.calendar.parts for day in part.opened if day.year == year)
    return {
        "year": year,
        "closed": [{"date": day.isoformat(), "weekday": f"{day:%a}", "name": closed} for day, closed in days],
        "open": [day.isoformat() for day in opened if stored.calendar.is_open(day)],
    }


def _stored(row: "asyncpg.Record", users: "Iterable[asyncpg.Record]") -> StoredCalendar:
    data: dict[str, Any] = row["data"]
    return StoredCalendar(
        calendar=calendar_from(row["name"], row["version"], data),
        spec=CalendarSpec.model_validate(row["spec"], extra="ignore"),
        source=row["source"],
        applied_at=row["applied_at"],
        used_by=tuple(sorted({user["job"] for user in users if user["calendar"] == row["name"]})),
    )
