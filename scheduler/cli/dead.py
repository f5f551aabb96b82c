"""``scheduler dead``: failed runs that used up their attempts."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scheduler.cli.moments import read_time
from scheduler.cli.run_id import OptionalRunId, RunId, find_run
from scheduler.cli.runs import next_page, page_start, print_outputs, retry_run
from scheduler.cli.runs import show as show_run
from scheduler.cli.shared import After, Json, Limit, ask
from scheduler.cli.trigger import params_object

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from scheduler.config import Settings
    from scheduler.store.dead_runs import DeadFilter
    from scheduler.store.reading import Row
    from scheduler.store.stores import Store

    Act = Callable[[Store, str, list[UUID]], Awaitable[int]]

dead = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Failed runs that used up their attempts.")

OfJob = Annotated[str | None, typer.Option("--job", help="Only runs of this job.")]
OfOutcome = Annotated[str | None, typer.Option("--outcome", help="Only failed, timed_out, lost or out_of_limits ones.")]
OfReason = Annotated[str | None, typer.Option("--reason", help="Only those whose reason contains this.")]
Since = Annotated[str | None, typer.Option("--since", help="Failed after: a time, or a duration ago as in 2h.")]
Every = Annotated[bool, typer.Option("--all", help="Every dead run.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Params = Annotated[
    str | None, typer.Option("--params", help="JSON object; its entries go before the run's own params.")
]


@dead.command(name="list")
def list_dead_runs(
    context: typer.Context,
    *,
    job: OfJob = None,
    outcome: OfOutcome = None,
    reason: OfReason = None,
    since: Since = None,
    limit: Limit = 50,
    after: After = None,
    json: Json = False,
) -> None:
    """Examples:

      scheduler dead list

      scheduler dead list --job import --reason timeout --since 1d

    List dead runs that nobody retried or discarded, newest first.
    """
    from scheduler.cli.output import print_json, print_rows
    from scheduler.store.dead_runs import list_dead

    which = _filter(job, outcome, reason, since)

    async def question(store: "Store", settings: "Settings") -> "list[Row]":
        return await list_dead(store, settings.tenant, which, after=page_start(after), limit=limit)

    found = ask(context, question)
    if json:
        print_json({"dead_runs": found, "next": next_page(found, limit)})
        return
    print_rows(found, ("id", "job", "outcome", "attempt", "finished_at", "reason"), empty="no dead runs")


@dead.command()
def show(context: typer.Context, *, run_id: RunId, json: Json = False) -> None:
    """Show a dead run: every attempt, with the whole reason and what it wrote."""
    show_run(context, run_id=run_id, json=json)
    if not json:
        print_outputs(context, run_id, headed=True)


@dead.command()
def retry(
    context: typer.Context,
    *,
    run_id: OptionalRunId = None,
    job: OfJob = None,
    outcome: OfOutcome = None,
    reason: OfReason = None,
    since: Since = None,
    every: Every = False,
    params: Params = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Examples:

      scheduler dead retry 0192e4a0

      scheduler dead retry --job import --since 1d --params '{"day": "2026-03-01"}' --yes

    Run one dead run again, or all that the options name, as new runs; the old ones stay as they are. A retry is a
    firing like any other: one that overlap skips leaves its run dead.
    """
    from scheduler.clock import SystemClock
    from scheduler.store.dead_runs import retry_dead

    given = params_object(params)
    if run_id is not None:
        _alone(job, outcome, reason, since, every)
        retry_run(context, run_id, params=given, as_json=json)
        return

    async def act(store: "Store", tenant: str, runs: "list[UUID]") -> int:
        return await retry_dead(store, tenant, runs, params=given, clock=SystemClock())

    which = _filter(job, outcome, reason, since, every=every)
    _in_bulk(context, which, act, "retried", yes=yes, as_json=json)


@dead.command()
def discard(
    context: typer.Context,
    *,
    run_id: OptionalRunId = None,
    job: OfJob = None,
    outcome: OfOutcome = None,
    reason: OfReason = None,
    since: Since = None,
    every: Every = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Say that one dead run is dealt with, or all that the options name. Exit 4 when the one is none."""
    from scheduler.cli.output import print_json, print_line
    from scheduler.store.control import discard_run
    from scheduler.store.dead_runs import discard_dead

    if run_id is None:
        which = _filter(job, outcome, reason, since, every=every)
        _in_bulk(context, which, discard_dead, "discarded", yes=yes, as_json=json)
        return
    _alone(job, outcome, reason, since, every)
    digits = run_id

    async def question(store: "Store", settings: "Settings") -> "UUID":
        run = await find_run(store, settings.tenant, digits)
        await discard_run(store, settings.tenant, run)
        return run

    run = ask(context, question)
    if json:
        print_json({"run": run, "discarded": True})
    else:
        print_line(f"{run}: discarded")


def _in_bulk(context: typer.Context, which: "DeadFilter", act: "Act", done: str, *, yes: bool, as_json: bool) -> None:
    """Act on the dead runs that are found now, after a question that says how many; on none that come later."""
    from scheduler.cli.output import print_json, print_line
    from scheduler.store.dead_runs import list_dead

    async def find(store: "Store", settings: "Settings") -> "list[UUID]":
        return [row["id"] for row in await list_dead(store, settings.tenant, which)]

    runs = ask(context, find)
    if runs and not yes:
        _confirm(len(runs), done)

    async def question(store: "Store", settings: "Settings") -> int:
        return await act(store, settings.tenant, runs)

    count = ask(context, question) if runs else 0
    if as_json:
        print_json({"found": len(runs), done: count})
    else:
        print_line(f"{count} of {len(runs)} dead runs {done}")


def _confirm(count: int, done: str) -> None:
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"{count} dead runs would be {done}: say --yes")
    typer.confirm(f"{count} dead runs are to be {done}. Go on?", abort=True, err=True)


def _filter(
    job: str | None, outcome: str | None, reason: str | None, since: str | None, *, every: bool | None = None
) -> "DeadFilter":
    """Return the filter; ``every`` is None where no filter is fine too."""
    from scheduler.store.dead_runs import DeadFilter
    from schemas.vocabulary import Outcome

    known = [each.value for each in Outcome if each not in {Outcome.SUCCEEDED, Outcome.CANCELLED}]
    if outcome is not None and outcome not in known:
        raise typer.BadParameter(f"--outcome: {outcome!r} is none of {', '.join(known)}")
    which = DeadFilter(job, outcome, reason, read_time(since, None, "--since"))
    if every is not None and every is not (which == DeadFilter()):
        raise typer.BadParameter(
            "give an ID, or --all, or what the runs are to have: --job, --outcome, --reason, --since"
        )
    return which


def _alone(*others: Any) -> None:
    if any(others):
        raise typer.BadParameter("an ID goes with no filter")


def register(app: typer.Typer) -> None:
    app.add_typer(dead, name="dead")
