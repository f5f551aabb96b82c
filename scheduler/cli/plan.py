"""``scheduler plan``: what ``apply`` would change."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scheduler.cli.definitions import Files
from scheduler.cli.shared import Json, ask

if TYPE_CHECKING:
    from collections.abc import Callable

    from scheduler.config import Settings
    from scheduler.domain.calendar import Calendar
    from scheduler.store.definitions import ApplyResult
    from scheduler.store.rehearsal import Standing
    from scheduler.store.stores import Store

    Before = tuple[Mapping[str, Standing], Mapping[str, Calendar]]
    Answer = tuple[ApplyResult, Before, Callable[[str], int], dict[str, str]]

Change = dict[str, Any]
"""What becomes of one job, as ``--json`` prints it."""


def plan(
    context: typer.Context,
    *,
    files: Files,
    days: Annotated[int, typer.Option("--days", min=1, max=366, help="Compare the firings of so many days.")] = 7,
    prune: Annotated[
        bool, typer.Option("--prune", help="As apply would: delete what the same source applied before.")
    ] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit 1 when something would change, as git diff does.")
    ] = False,
    json: Json = False,
) -> None:
    """Examples:

      scheduler plan jobs.yaml

      scheduler plan definitions/ --prune --days 30

      scheduler plan jobs.yaml --exit-code --json

    Say what apply would change: jobs with the keys that differ, and the firings that come and go in the next days.
    Nothing is written; what apply would refuse is refused. Where a stored definition cannot be read, the firings
    until now are not known, and "trouble" of "firings" says why.
    """
    from scheduler.change_plan import Stood, other_changes, planned_changes, warn_of_impossible
    from scheduler.cli.definitions import live_slots, read_definitions, require_source, say_warnings, warn_of_crowds
    from scheduler.cli.output import print_json
    from scheduler.cli.possible import impossible_now
    from scheduler.clock import SystemClock
    from scheduler.store.calendars import load_calendars
    from scheduler.store.rehearsal import rehearse

    definitions = read_definitions(context, files)
    if prune:
        require_source(definitions, files)

    async def question(store: "Store", settings: "Settings") -> "Answer":
        calendars = await load_calendars(store, definitions.tenant)
        result, standing = await rehearse(store, definitions, prune=prune, clock=SystemClock())
        impossible = await impossible_now(store, settings, definitions)
        return result, (standing, calendars), await live_slots(store, settings), impossible

    result, stood, slots_of, impossible = ask(context, question, of_tenant=False, home=definitions.tenant)
    definitions = warn_of_impossible(warn_of_crowds(definitions, slots_of), impossible)
    standing, calendars = stood
    jobs = planned_changes(definitions, result, Stood(standing, calendars, SystemClock().now()), timedelta(days=days))
    others = other_changes(result)
    if json:
        warnings = [said.detail() for said in definitions.warnings]
        print_json({"jobs": jobs, "unchanged": result.unchanged, **others, "warnings": warnings})
    else:
        say_warnings(definitions)
        _print(jobs, result)
    raise typer.Exit(1 if exit_code and (jobs or any(others.values())) else 0)


def _print(jobs: list[Change], result: "ApplyResult") -> None:
    from scheduler.cli.calendars import say_calendar_change
    from scheduler.cli.output import print_line

    for job in jobs:
        print_line(f"{job['change']} {job['name']}{' (it is paused)' if job['paused'] else ''}")
        for line in (*_difference_lines(job["differences"]), *_firing_lines(job["firings"])):
            print_line(f"  {line}")
    for pool in result.pools:
        print_line(f"pool {pool}: made or changed")
    for change in result.calendars:
        say_calendar_change(change)
    for name in result.removed_calendars:
        print_line(f"remove calendar {name}")
    for name in result.webhooks.changed:
        print_line(f"webhook {name}: made or changed")
    for name in result.webhooks.removed:
        print_line(f"remove webhook {name}")
    totals = [f"{sum(job['change'] == word for job in jobs)} to {word}" for word in ("create", "change", "remove")]
    print_line(f"{', '.join(totals)}, {len(result.unchanged)} unchanged")


def _difference_lines(found: list[dict[str, Any]]) -> Iterator[str]:
    from scheduler.cli.output import cell

    for difference in found:
        old, new = difference["old"], difference["new"]
        yield f"{difference['path']}: {cell(old) or 'nothing'} → {cell(new) or 'nothing'}"


def _firing_lines(firings: Mapping[str, Any]) -> Iterator[str]:
    from scheduler.cli.output import rfc3339

    trouble = firings["trouble"]
    if trouble is not None:
        yield f"its firings until now are not known: {trouble}"
    for word in ("added", "removed"):
        if count := firings[word]:
            first = [rfc3339(at) for at in firings[f"first_{word}"]]
            more = ", …" if count > len(first) else ""
            what = word if trouble is None else "from now on,"
            yield f"{count} firings {what} until {rfc3339(firings['until'])}: {', '.join(first)}{more}"


def register(app: typer.Typer) -> None:
    app.command()(plan)
