"""``scheduler calendars`` and ``calendar show``; what ``apply`` and ``export`` say of calendars."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Final

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
    from scheduler.store.calendars import calendar_row, list_calendars

    async def question(store: "Store", settings: "Settings") -> "dict[str, StoredCalendar]":
        return await list_calendars(store, settings.tenant)

    found = [calendar_row(stored) for stored in ask(context, question).values()]
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
    from scheduler.cli.output import print_fields, print_json, print_rows
    from scheduler.clock import SystemClock
    from scheduler.store.calendars import calendar_row, closed_days, get_calendar

    async def question(store: "Store", settings: "Settings") -> "StoredCalendar":
        return await get_calendar(store, settings.tenant, name)

    stored = ask(context, question)
    shown = year or SystemClock().now().year
    found = closed_days(stored, shown)
    if json:
        print_json(calendar_row(stored) | found)
        return
    print_fields(calendar_row(stored) | {"open": found["open"]})
    print_rows(found["closed"], ("date", "weekday", "name"), empty=f"no closed days in {shown} but the weekends")


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
