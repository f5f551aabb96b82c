"""``scheduler dead``: failed runs that used up their attempts."""

from typing import TYPE_CHECKING

import typer

from scheduler.cli.run_id import RunId, find_run
from scheduler.cli.runs import next_page, page_start, retry_run
from scheduler.cli.runs import show as show_run
from scheduler.cli.shared import After, Json, Limit, ask

if TYPE_CHECKING:
    from uuid import UUID

    from scheduler.config import Settings
    from scheduler.store.reading import Row
    from scheduler.store.stores import Store

dead = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Failed runs that used up their attempts.")


@dead.command(name="list")
def list_dead_runs(context: typer.Context, *, limit: Limit = 50, after: After = None, json: Json = False) -> None:
    """Examples:

      scheduler dead list

    List dead runs that nobody retried or discarded, newest first.
    """
    from scheduler.cli.output import print_json, print_rows
    from scheduler.store.reading import list_dead

    async def question(store: "Store", settings: "Settings") -> "list[Row]":
        return await list_dead(store, settings.tenant, after=page_start(after), limit=limit)

    found = ask(context, question)
    if json:
        print_json({"dead_runs": found, "next": next_page(found, limit)})
        return
    print_rows(found, ("id", "job", "outcome", "attempt", "finished_at", "reason"), empty="no dead runs")


@dead.command()
def show(context: typer.Context, *, run_id: RunId, json: Json = False) -> None:
    """Show a dead run with its attempts."""
    show_run(context, run_id=run_id, json=json)


@dead.command()
def retry(context: typer.Context, *, run_id: RunId, json: Json = False) -> None:
    """Run it again as a new run; the old one stays as it is."""
    retry_run(context, run_id, as_json=json)


@dead.command()
def discard(context: typer.Context, *, run_id: RunId, json: Json = False) -> None:
    """Say that a dead run is dealt with. Exit 4 when it is none."""
    from scheduler.cli.output import print_json, print_line
    from scheduler.store.control import discard_run

    async def question(store: "Store", settings: "Settings") -> "UUID":
        run = await find_run(store, settings.tenant, run_id)
        await discard_run(store, settings.tenant, run)
        return run

    run = ask(context, question)
    if json:
        print_json({"run": run, "discarded": True})
    else:
        print_line(f"{run}: discarded")


def register(app: typer.Typer) -> None:
    app.add_typer(dead, name="dead")
