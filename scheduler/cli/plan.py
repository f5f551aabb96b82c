"""``scheduler plan``: what ``apply`` would change."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scheduler.cli.definitions import Files
from scheduler.cli.shared import Json, ask

if TYPE_CHECKING:
    from collections.abc import Callable

    from scheduler.config import Settings
    from scheduler.definitions.model import Definitions
    from scheduler.domain.calendar import Calendar
    from scheduler.simulation.forecast import Forecast
    from scheduler.store.definitions import ApplyResult
    from scheduler.store.rehearsal import Standing
    from scheduler.store.stores import Store

    Stood = tuple[Mapping[str, Standing], Mapping[str, Calendar]]
    Answer = tuple[ApplyResult, Stood, Callable[[str], int]]

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
    from scheduler.cli.definitions import live_slots, read_definitions, require_source, say_warnings, warn_of_crowds
    from scheduler.cli.output import print_json
    from scheduler.clock import SystemClock
    from scheduler.store.calendars import load_calendars
    from scheduler.store.rehearsal import rehearse

    definitions = read_definitions(context, files)
    if prune:
        require_source(definitions, files)

    async def question(store: "Store", settings: "Settings") -> "Answer":
        calendars = await load_calendars(store, definitions.tenant)
        result, standing = await rehearse(store, definitions, prune=prune, clock=SystemClock())
        return result, (standing, calendars), await live_slots(store, settings)

    result, stood, slots_of = ask(context, question, of_tenant=False)
    definitions = warn_of_crowds(definitions, slots_of)
    jobs = _changes(definitions, result, stood, timedelta(days=days))
    others = _others(result)
    if json:
        print_json({"jobs": jobs, "unchanged": result.unchanged, **others, "warnings": definitions.warnings})
    else:
        say_warnings(definitions)
        _print(jobs, result)
    raise typer.Exit(1 if exit_code and (jobs or any(others.values())) else 0)


def _others(result: "ApplyResult") -> dict[str, list[Any]]:
    """Return what apply would change beside jobs."""
    from scheduler.cli.calendars import calendar_change_row

    calendars = [calendar_change_row(change) for change in result.calendars]
    return {"pools": result.pools, "calendars": calendars, "removed_calendars": result.removed_calendars}


def _changes(definitions: "Definitions", result: "ApplyResult", stood: "Stood", span: timedelta) -> list[Change]:
    from scheduler.clock import SystemClock
    from scheduler.definitions.differences import differences
    from scheduler.simulation.forecast import Side, forecast
    from scheduler.simulation.upcoming import Upcoming

    now, (standing, calendars) = SystemClock().now(), stood
    old = Upcoming(definitions.tenant, now, calendars)
    new = Upcoming(definitions.tenant, now, definitions.resolved_calendars)
    found = []
    for change, names in (("create", result.created), ("change", result.changed), ("remove", result.removed)):
        for name in names:
            job, spec = standing.get(name), None if change == "remove" else definitions.jobs[name]
            anchors = job.anchors if job else {}
            before = Side(name, job.spec, job.enabled, old, anchors) if job and job.spec else None
            after = Side(name, spec, _enabled(job, spec.enabled), new, anchors) if spec else None
            changed = differences(job.spec, spec) if job and job.spec and spec else []
            found.append(
                {
                    "name": name,
                    "change": change,
                    "paused": job.paused if job else False,
                    "differences": [asdict(difference) for difference in changed],
                    "firings": _shown(forecast(before, after, now, span), job.trouble if job else None),
                }
            )
    return found


def _enabled(stood: "Standing | None", wanted: bool) -> bool:  # noqa: FBT001 - a value, not a switch
    """Return whether the job may start afterwards: what people switched stays, unless the file says another thing."""
    if stood is None or stood.spec is None or stood.spec.enabled != wanted:
        return wanted
    return stood.enabled


def _shown(found: "Forecast", unread: str | None) -> dict[str, Any]:
    """Return the firings; ``unread`` is why the definition before cannot be read."""
    return {
        "added": found.added,
        "first_added": found.first_added,
        "removed": found.removed,
        "first_removed": found.first_removed,
        "until": found.until,
        "trouble": unread or found.trouble,
    }


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
