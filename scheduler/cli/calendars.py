"""``scheduler calendars`` and ``calendar show``; what ``apply`` and ``export`` say of calendars."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from scheduler.cli.shared import Json, ask

if TYPE_CHECKING:
    from scheduler.config import Settings
    from scheduler.store.calendar_rows import CalendarChange
    from scheduler.store.calendars import StoredCalendar
    from scheduler.store.stores import Store
    from schemas.calendar_spec import CalendarSpec
    from schemas.job_spec import JobSpec

_COLUMNS: Final = ("name", "version", "weekend", "first_day", "last_day", "holidays_from", "source", "used_by")
_FIRST_YEAR: Final = 1970
_LAST_YEAR: Final = 9989
_SHOWN: Final = 10
"""So many firings of a trigger are listed; the others are counted."""

calendar = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="One business calendar.")


def calendars(context: typer.Context, *, json: Json = False) -> None:
    """Examples:

      scheduler calendars

    List the calendars that were applied, and the countries that triggers name, which have calendars too.
    """
    from scheduler.cli.output import print_json, print_rows
    from scheduler.store.calendars import list_calendars

    async def question(store: "Store", settings: "Settings") -> "dict[str, StoredCalendar]":
        return await list_calendars(store, settings.tenant)

    found = [_row(stored) for stored in ask(context, question).values()]
    if json:
        print_json({"calendars": found})
        return
    print_rows(found, _COLUMNS, empty="no calendars")


@calendar.command()
def show(
    context: typer.Context,
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A calendar, or the code of a country.")],
    year: Annotated[
        int | None, typer.Option("--year", min=_FIRST_YEAR, max=_LAST_YEAR, help="Default: this year (UTC).")
    ] = None,
    json: Json = False,
) -> None:
    """Examples:

      scheduler calendar show tokyo --year 2027

      scheduler calendar show JP --json

    Print the closed days of a year with their names. Exit 3 for a year without data: that is not a year
    without holidays.
    """
    from datetime import date

    from scheduler.cli.output import print_fields, print_json, print_rows
    from scheduler.clock import SystemClock
    from scheduler.domain.calendar import NoDataError
    from scheduler.errors import NotFoundError
    from scheduler.store.calendars import get_calendar

    async def question(store: "Store", settings: "Settings") -> "StoredCalendar":
        return await get_calendar(store, settings.tenant, name)

    stored = ask(context, question)
    shown = year or SystemClock().now().year
    try:
        days = list(stored.calendar.closed_days(date(shown, 1, 1), date(shown, 12, 31)))
    except NoDataError as error:
        raise NotFoundError(str(error)) from None
    opened = sorted(day for part in stored.calendar.parts for day in part.opened if day.year == shown)
    rows = [{"date": day.isoformat(), "weekday": f"{day:%a}", "name": closed} for day, closed in days]
    worked = [day.isoformat() for day in opened if stored.calendar.is_open(day)]
    if json:
        print_json(_row(stored) | {"year": shown, "closed": rows, "open": worked})
        return
    print_fields(_row(stored) | {"open": worked})
    print_rows(rows, ("date", "weekday", "name"), empty=f"no closed days in {shown} but the weekends")


def _row(stored: "StoredCalendar") -> dict[str, Any]:
    from scheduler.domain.calendar import END, weekday_names

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


def say_calendar_change(change: "CalendarChange") -> None:
    """Say that a calendar has a new version, and which firings of the next 90 days that moves."""
    from scheduler.cli.output import print_line, rfc3339

    print_line(f"calendar {change.name}: version {change.version}")
    for moves in change.moves:
        for word, times in (("removes", moves.removed), ("adds", moves.added)):
            if times:
                more = f" and {len(times) - _SHOWN} more" if len(times) > _SHOWN else ""
                shown = ", ".join(map(rfc3339, times[:_SHOWN]))
                print_line(f"  job {moves.job}, trigger {moves.trigger}: {word} {shown}{more}")


def calendar_change_row(change: "CalendarChange") -> dict[str, Any]:
    moves = [
        {"job": m.job, "trigger": m.trigger, "removed": list(m.removed), "added": list(m.added)} for m in change.moves
    ]
    return {"name": change.name, "version": change.version, "moves": moves}


def exported_calendars(
    stored: "Mapping[str, StoredCalendar]", source: str | None, jobs: "Mapping[str, JobSpec]"
) -> "dict[str, CalendarSpec]":
    """Return the definitions that ``source`` applied (None: all), and those that ``jobs`` and unions need."""
    from scheduler.domain.calendar_sources import calendar_names

    wanted = [name for name, found in stored.items() if source in {None, found.source}]
    wanted += calendar_names(jobs.values())
    specs: dict[str, CalendarSpec] = {}
    while wanted:
        name = wanted.pop()
        if name in stored and not name[:1].isupper() and name not in specs:
            specs[name] = stored[name].spec
            wanted += stored[name].spec.union or ()
    return dict(sorted(specs.items()))


def register(app: typer.Typer) -> None:
    app.command()(calendars)
    app.add_typer(calendar, name="calendar")
