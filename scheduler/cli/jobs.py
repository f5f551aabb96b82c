"""``scheduler jobs``, ``job …``, ``pause --all``, ``resume --all``."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scheduler.cli.shared import Json, ask

if TYPE_CHECKING:
    from scheduler.config import Settings
    from scheduler.store.stores import Store

    Change = Callable[[Store, str], Awaitable[bool]]

JobName = Annotated[str, typer.Argument(metavar="NAME", help="The job.")]
All = Annotated[bool, typer.Option("--all", help="Every job of the tenant.")]

job = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="One job.")

_LAST_RUNS = 5
_COLUMNS = ("name", "state", "next_at", "last_state", "last_finished_at", "pool", "needs", "trouble")


def jobs(
    context: typer.Context,
    *,
    every: Annotated[bool, typer.Option("--all", help="Also what the scheduler itself does every day.")] = False,
    json: Json = False,
) -> None:
    """Examples:

      scheduler jobs

    List the jobs: when each fires next, and how its last run ended.
    """
    from scheduler.cli.output import print_json, print_rows
    from scheduler.store.reading import Row, list_jobs
    from scheduler.store.retaining import show_retention

    async def question(store: "Store", settings: "Settings") -> tuple[list[Row], list[Row]]:
        internal = [_internal(await show_retention(store))] if every else []
        return await list_jobs(store, settings.tenant), internal

    found, internal = ask(context, question)
    if json:
        print_json({"jobs": found} | ({"internal": internal} if every else {}))
        return
    rows = [row | {"state": _state(row)} for row in found] + internal
    print_rows(rows, _COLUMNS, empty="no jobs: scheduler apply FILE")


@job.command()
def show(context: typer.Context, *, name: JobName, json: Json = False) -> None:
    """Show a job: its whole definition, its triggers and when they fire, its last runs."""
    from scheduler.cli.job_page import print_job
    from scheduler.cli.output import print_json
    from scheduler.store.reading import Row, RunFilter, get_job, list_runs

    async def question(store: "Store", settings: "Settings") -> Row:
        last = await list_runs(store, settings.tenant, RunFilter(job=name, limit=_LAST_RUNS))
        return await get_job(store, settings.tenant, name) | {"runs": last}

    found = ask(context, question)
    if json:
        print_json(found)
    else:
        print_job(found, state=_state(found))


@job.command()
def pause(
    context: typer.Context,
    *,
    name: JobName,
    note: Annotated[str | None, typer.Option("--note", help="Why; shown to others.")] = None,
    json: Json = False,
) -> None:
    """Plan nothing of a job until it is resumed; runs under way go on."""
    from scheduler.clock import SystemClock
    from scheduler.store.control import pause_job

    _change(
        context,
        lambda store, tenant: pause_job(store, tenant, name, note=note, clock=SystemClock()),
        name,
        "paused",
        as_json=json,
    )


@job.command()
def resume(context: typer.Context, *, name: JobName, json: Json = False) -> None:
    """Plan a job again; what fell into the pause is in the ledger."""
    from scheduler.clock import SystemClock
    from scheduler.store.control import resume_job

    _change(
        context,
        lambda store, tenant: resume_job(store, tenant, name, clock=SystemClock()),
        name,
        "resumed",
        as_json=json,
    )


@job.command()
def enable(context: typer.Context, *, name: JobName, json: Json = False) -> None:
    """Let a disabled job start again."""
    _switch(context, name, enabled=True, as_json=json)


@job.command()
def disable(context: typer.Context, *, name: JobName, json: Json = False) -> None:
    """Keep a job from starting in any way; runs under way go on."""
    _switch(context, name, enabled=False, as_json=json)


@job.command()
def delete(context: typer.Context, *, name: JobName, json: Json = False) -> None:
    """Delete a job; its ledger and its runs stay, runs under way go on. Exit 4 when another job needs it."""
    from scheduler.clock import SystemClock
    from scheduler.store.definitions import delete_job
    from scheduler.store.reading import get_job

    async def change(store: "Store", tenant: str) -> bool:
        await get_job(store, tenant, name)
        await delete_job(store, tenant, name, clock=SystemClock())
        return True

    _change(context, change, name, "deleted", as_json=json)


def pause_all(context: typer.Context, *, every: All = False, json: Json = False) -> None:
    """Examples:

      scheduler pause --all

    Plan nothing of the tenant until it is resumed; runs under way go on.
    """
    from scheduler.clock import SystemClock
    from scheduler.store.control import pause_all as pause_tenant

    _need_all(every, "pause")
    _change(
        context, lambda store, tenant: pause_tenant(store, tenant, clock=SystemClock()), "all", "paused", as_json=json
    )


def resume_all(context: typer.Context, *, every: All = False, json: Json = False) -> None:
    """Examples:

      scheduler resume --all

    Plan the tenant's jobs again; jobs paused one by one stay paused.
    """
    from scheduler.clock import SystemClock
    from scheduler.store.control import resume_all as resume_tenant

    _need_all(every, "resume")
    _change(
        context, lambda store, tenant: resume_tenant(store, tenant, clock=SystemClock()), "all", "resumed", as_json=json
    )


def _need_all(every: bool, verb: str) -> None:  # noqa: FBT001 - the option itself
    if not every:
        raise typer.BadParameter(f"say --all for every job, or `scheduler job {verb} NAME` for one")


def _switch(context: typer.Context, name: str, *, enabled: bool, as_json: bool) -> None:
    from scheduler.clock import SystemClock
    from scheduler.store.control import enable_job

    word = "enabled" if enabled else "disabled"
    _change(
        context,
        lambda store, tenant: enable_job(store, tenant, name, enabled=enabled, clock=SystemClock()),
        name,
        word,
        as_json=as_json,
    )


def _change(context: typer.Context, change: "Change", name: str, done: str, *, as_json: bool) -> None:
    from scheduler.cli.output import print_json, print_line

    async def question(store: "Store", settings: "Settings") -> bool:
        return await change(store, settings.tenant)

    changed = ask(context, question)
    if as_json:
        print_json({"name": name, "done": done, "changed": changed})
    else:
        print_line(f"{name}: {done}" if changed else f"{name}: was {done} already")


def _internal(retention: dict[str, Any]) -> dict[str, Any]:
    """Return the daily work on history as a job among the others."""
    ended = None if retention["finished_at"] is None else "succeeded"
    return {
        "name": "retention",
        "state": "internal",
        "next_at": retention["next_at"],
        "last_state": "running" if retention["is_at_it"] else "failed" if retention["trouble"] else ended,
        "last_finished_at": retention["finished_at"],
        "trouble": retention["trouble"],
    }


def _state(row: dict[str, Any]) -> str:
    if not row["enabled"]:
        return "disabled"
    return "paused" if row["paused"] else "on"


def register(app: typer.Typer) -> None:
    app.command()(jobs)
    app.add_typer(job, name="job")
    app.command(name="pause")(pause_all)
    app.command(name="resume")(resume_all)
