"""``scheduler validate``, ``apply`` and ``export``."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scheduler.cli.calendars import exported_calendars, say_calendar_change
from scheduler.cli.possible import impossible_if_known, impossible_now
from scheduler.cli.shared import Json, ask, lease_s, load

if TYPE_CHECKING:
    from scheduler.config import Settings
    from scheduler.definitions.model import Definitions
    from scheduler.store.calendars import StoredCalendar
    from scheduler.store.definitions import ApplyResult
    from scheduler.store.stores import Store
    from scheduler.store.webhooks import StoredWebhook

Files = Annotated[
    list[Path],
    typer.Argument(metavar="FILE...", help="Files (*.yaml, *.yml, *.json, *.py with @job functions) or folders."),
]


def validate(context: typer.Context, *, files: Files, json: Json = False) -> None:
    """Examples:

      scheduler validate jobs.yaml

      scheduler validate definitions/

    Check definitions without applying them; says which jobs lead to which. Exit 65 with every problem;
    a warning alone is exit 0. Pools are taken to have as many slots as the setting says. Where a database
    is named or runs, jobs that no live executor could run are warned of too.
    """
    from scheduler.change_plan import warn_of_impossible
    from scheduler.cli.output import print_json, print_line

    slots = load(context).settings.slots
    definitions = warn_of_crowds(read_definitions(context, files), lambda _pool: slots)
    definitions = warn_of_impossible(definitions, impossible_if_known(context, definitions))
    roots = definitions.roots
    if json:
        jobs: dict[str, Any] = {name: {"roots": roots[name]} for name in definitions.jobs}
        found = {"tenant": definitions.tenant, "source": definitions.source, "jobs": jobs}
        print_json({"valid": True} | found | {"warnings": [said.detail() for said in definitions.warnings]})
        return
    say_warnings(definitions)
    for name, spec in definitions.jobs.items():
        if spec.needs:
            print_line(f"{name}: reached from {', '.join(roots[name])}")
    count = len(definitions.jobs)
    print_line(f"valid: {count} {'job' if count == 1 else 'jobs'} of tenant {definitions.tenant}")


def apply(
    context: typer.Context,
    *,
    files: Files,
    prune: Annotated[
        bool, typer.Option("--prune", help="Delete jobs the same source applied before and does not name now.")
    ] = False,
    json: Json = False,
) -> None:
    """Examples:

      scheduler apply jobs.yaml

      scheduler apply definitions/ --prune

    Make the jobs of the tenant those of the files: all or nothing, in one transaction.
    """
    from scheduler.change_plan import calendar_change_row, warn_of_impossible
    from scheduler.cli.output import print_json, print_line
    from scheduler.clock import SystemClock
    from scheduler.store.definitions import apply as apply_definitions

    definitions = read_definitions(context, files)
    if prune:
        require_source(definitions, files)

    async def question(
        store: "Store", settings: "Settings"
    ) -> "tuple[ApplyResult, Callable[[str], int], dict[str, str]]":
        result = await apply_definitions(store, definitions, prune=prune, clock=SystemClock())
        return result, await live_slots(store, settings), await impossible_now(store, settings, definitions)

    result, slots_of, impossible = ask(context, question, of_tenant=False, home=definitions.tenant)
    definitions = warn_of_impossible(definitions, impossible)
    definitions = warn_of_crowds(definitions, slots_of)
    named = {"created": result.created, "changed": result.changed, "removed": result.removed}
    if json:
        named |= {"unchanged": result.unchanged, "pools": result.pools, "removed_calendars": result.removed_calendars}
        named |= {"webhooks": result.webhooks.changed, "removed_webhooks": result.webhooks.removed}
        changes = [calendar_change_row(change) for change in result.calendars]
        print_json(named | {"calendars": changes, "warnings": [said.detail() for said in definitions.warnings]})
        return
    say_warnings(definitions)
    for word, names in named.items():
        for name in names:
            print_line(f"{word} {name}")
    _say_others(result)
    print_line(f"{len(definitions.jobs)} jobs applied, {len(result.unchanged)} unchanged")


def _say_others(result: "ApplyResult") -> None:
    """Say what was changed beside jobs."""
    from scheduler.cli.output import print_line

    for change in result.calendars:
        say_calendar_change(change)
    for name in result.removed_calendars:
        print_line(f"removed calendar {name}")
    for name in result.webhooks.changed:
        print_line(f"webhook {name}: made or changed")
    for name in result.webhooks.removed:
        print_line(f"removed webhook {name}")
    for name in result.pools:
        print_line(f"pool {name}: without `scheduler up`, run `scheduler broker declare` to make its queue")


def export(
    context: typer.Context,
    *,
    source: Annotated[str | None, typer.Option("--source", help="Only what this source applied.")] = None,
    json: Json = False,
) -> None:
    """Examples:

      scheduler export > jobs.yaml

      scheduler export --json > jobs.json

    Print the jobs of the tenant as a definitions file that applies to the same, with --json as well.
    A job disabled by hand is disabled in it; which jobs are paused is said in a comment, or as a warning.
    """
    from scheduler.cli.output import print_json, say_warning
    from scheduler.definitions.export import export as export_definitions
    from scheduler.definitions.export import exported
    from scheduler.definitions.model import Definitions
    from scheduler.store.calendars import list_calendars
    from scheduler.store.definitions import list_definitions
    from scheduler.store.pools import list_pool_specs
    from scheduler.store.reading import Row, list_jobs
    from scheduler.store.webhooks import exported_webhooks, list_webhooks, named_webhooks
    from schemas.definitions_file import PoolSpec

    async def states(store: "Store", settings: "Settings") -> list[Row]:
        return await list_jobs(store, settings.tenant)

    async def calendars(store: "Store", settings: "Settings") -> "dict[str, StoredCalendar]":
        return await list_calendars(store, settings.tenant)

    async def webhooks(store: "Store", settings: "Settings") -> "dict[str, StoredWebhook]":
        return await list_webhooks(store, settings.tenant)

    async def question(store: "Store", settings: "Settings") -> tuple[str, Row, dict[str, PoolSpec]]:
        return settings.tenant, await list_definitions(store, settings.tenant), await list_pool_specs(store)

    tenant, found, pools = ask(context, question)
    stands = {row["name"]: row for row in ask(context, states)}
    jobs = {
        name: spec.model_copy(update={"enabled": stands[name]["enabled"]})
        for name, (from_source, spec) in found.items()
        if source in {None, from_source} and name in stands
    }
    if paused := [name for name in jobs if stands[name]["paused"]]:
        said = f"Paused at the time, which a definitions file does not say: {', '.join(paused)}"
        say_warning(said) if json else typer.echo(f"# {said}")
    used = {spec.pool for spec in jobs.values()}
    limits = {name: spec for name, spec in pools.items() if name in used}
    specs = exported_calendars(ask(context, calendars), source, jobs)
    hooks = exported_webhooks(ask(context, webhooks), source, named_webhooks(jobs.values()))
    definitions = Definitions(tenant, source, jobs, limits, (), calendars=specs, webhooks=hooks)
    if json:
        print_json(exported(definitions))
    else:
        typer.echo(export_definitions(definitions), nl=False)


def read_definitions(context: typer.Context, files: list[Path]) -> "Definitions":
    from scheduler.clock import SystemClock
    from scheduler.definitions.load import load as load_definitions

    return load_definitions(files, settings=load(context).settings.job_defaults(), now=SystemClock().now())


def require_source(definitions: "Definitions", files: list[Path]) -> None:
    """Refuse to prune what nobody named.

    Raises:
        DefinitionsError: the files name no source.
    """
    from scheduler.definitions.problems import Place, Problem
    from scheduler.errors import DefinitionsError

    if definitions.source is None:
        wrong = Problem(str(files[0]), Place(), "source", "is needed for --prune: it names what was applied from here")
        raise DefinitionsError([str(wrong)], [wrong.detail()])


async def live_slots(store: "Store", settings: "Settings") -> "Callable[[str], int]":
    """Return how many slots the executors of a pool have that are alive; the setting where there is none."""
    from scheduler.store.reading import list_executors

    slots: Counter[str] = Counter()
    for executor in await list_executors(store, lease_s=lease_s(settings)):
        if executor["alive"] and not executor["draining"]:
            slots[executor["pool"]] += executor["slots"]
    return lambda pool: slots[pool] or settings.slots


def warn_of_crowds(definitions: "Definitions", slots_of: "Callable[[str], int]") -> "Definitions":
    """Return ``definitions`` with warnings of minutes that have more firings than a pool has slots."""
    from dataclasses import replace

    from scheduler.clock import SystemClock
    from scheduler.definitions.conflicts import find_crowds
    from scheduler.simulation.upcoming import Upcoming

    upcoming = Upcoming(definitions.tenant, SystemClock().now(), definitions.resolved_calendars)
    crowds = find_crowds(definitions.jobs, upcoming, slots_of)
    return replace(definitions, warnings=(*definitions.warnings, *crowds))


def say_warnings(definitions: "Definitions") -> None:
    """Say on standard error what is valid and probably not meant."""
    from scheduler.cli.output import say_warning

    for warning in definitions.warnings:
        say_warning(str(warning))


def register(app: typer.Typer) -> None:
    app.command()(validate)
    app.command()(apply)
    app.command()(export)
