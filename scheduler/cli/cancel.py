"""``scheduler run cancel``: one run, or all that the options name."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from scheduler.cli.moments import read_time
from scheduler.cli.run_id import OfFlow, OptionalRunId, find_run
from scheduler.cli.shared import Json, ask

if TYPE_CHECKING:
    from uuid import UUID

    from scheduler.config import Settings
    from scheduler.store.cancelling import CancelFilter, CancelledRuns
    from scheduler.store.stores import Store
    from schemas.vocabulary import RunState


def cancel(
    context: typer.Context,
    *,
    run_id: OptionalRunId = None,
    job: Annotated[str | None, typer.Option("--job", help="Only runs of this job.")] = None,
    flow: OfFlow = None,
    state: Annotated[list[str] | None, typer.Option("--state", help="Only runs in this state; repeatable.")] = None,
    pool: Annotated[str | None, typer.Option("--pool", help="Only runs of this pool.")] = None,
    since: Annotated[
        str | None, typer.Option("--since", help="Made after: a time, or a duration ago as in 2h.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every run that is not over.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="Kept with the runs.")] = "cancelled by a person",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Examples:

      scheduler run cancel 0192e4a0

      scheduler run cancel --flow 0192e4a0 --yes

      scheduler run cancel --job import --state ready --state waiting --reason "wrong day"

    Cancel a run, or all that are not over and that the options name: every option narrows it. One that runs is
    asked to stop, then killed. Exit 4 when the one that an ID names is over.
    """
    filters = (job, flow, state, pool, since)
    if run_id is not None:
        if any(filters) or every:
            raise typer.BadParameter("an ID goes with no filter")
        _cancel_one(context, run_id, reason, as_json=json)
        return
    if every is any(filters):
        raise typer.BadParameter(
            "give an ID, or --all, or what the runs are to have: --job, --flow, --state, --pool, --since"
        )
    _cancel_many(context, _filter(job, state, pool, since), flow, reason, yes=yes, as_json=json)


def _cancel_one(context: typer.Context, run_id: str, reason: str, *, as_json: bool) -> None:
    from scheduler.cli.output import print_json, print_line
    from scheduler.store.control import cancel_run

    async def question(store: "Store", settings: "Settings") -> "tuple[UUID, RunState]":
        run = await find_run(store, settings.tenant, run_id)
        return run, await cancel_run(store, settings.tenant, run, reason=reason)

    run, state = ask(context, question)
    if as_json:
        print_json({"run": run, "state": state, "cancel_asked": True})
    else:
        print_line(f"{run}: cancelled" if state == "cancelled" else f"{run}: its executor is asked to stop it")


def _cancel_many(
    context: typer.Context, which: "CancelFilter", flow: str | None, reason: str, *, yes: bool, as_json: bool
) -> None:
    """Cancel the runs that are found now, after a question that says how many; none that come later."""
    from dataclasses import replace

    from scheduler.cli.output import print_json, print_line
    from scheduler.store.cancelling import CancelledRuns, cancel_runs, list_cancellable
    from scheduler.store.reading import get_run

    async def find(store: "Store", settings: "Settings") -> "list[UUID]":
        if flow is None:
            return await list_cancellable(store, settings.tenant, which)
        run = await get_run(store, settings.tenant, await find_run(store, settings.tenant, flow))
        return await list_cancellable(store, settings.tenant, replace(which, flow=run["flow_id"]))

    async def question(store: "Store", settings: "Settings") -> "CancelledRuns":
        return await cancel_runs(store, settings.tenant, runs, reason=reason)

    runs = ask(context, find)
    if runs and not yes:
        _confirm(len(runs))
    done = ask(context, question) if runs else CancelledRuns()
    if as_json:
        print_json({"found": len(runs), "cancelled": done.cancelled, "asked": done.asked})
    else:
        asked = f", {done.asked} run: their executors are asked to stop them" if done.asked else ""
        print_line(f"{done.cancelled} of {len(runs)} runs cancelled{asked}")


def _confirm(count: int) -> None:
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"{count} runs would be cancelled: say --yes")
    typer.confirm(f"{count} runs are to be cancelled. Go on?", abort=True, err=True)


def _filter(job: str | None, states: list[str] | None, pool: str | None, since: str | None) -> "CancelFilter":
    from scheduler.domain.run_state import Move, sources
    from scheduler.store.cancelling import CancelFilter

    known = [state.value for state in sources(Move.CANCEL)]
    for state in states or ():
        if state not in known:
            raise typer.BadParameter(f"--state: {state!r} is none of {', '.join(known)}")
    return CancelFilter(job, None, states or None, pool, read_time(since, None, "--since"))
