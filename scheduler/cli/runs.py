"""``scheduler runs`` and ``run …``."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from scheduler.cli.cancel import cancel
from scheduler.cli.moments import read_time
from scheduler.cli.run_id import RunId, find_run
from scheduler.cli.shared import After, Json, Limit, ask, lease_s

if TYPE_CHECKING:
    from scheduler.config import Settings
    from scheduler.store.reading import Row
    from scheduler.store.stores import Store

run = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="One run.")

_RUN_COLUMNS = ("id", "job", "state", "attempt", "progress", "fired_at", "claimed_at", "finished_at", "reason")
_ATTEMPT_COLUMNS = ("attempt", "outcome", "exit_code", "started_at", "elapsed_s", "executor", "reason")
_USAGE_COLUMNS = ("cpu_s", "cpu_percent", "peak_memory", "read", "written", "limited_by")


def runs(
    context: typer.Context,
    *,
    job: Annotated[str | None, typer.Option("--job", help="Only runs of this job.")] = None,
    state: Annotated[list[str] | None, typer.Option("--state", help="Only runs in this state; repeatable.")] = None,
    since: Annotated[
        str | None, typer.Option("--since", help="Made after: a time, or a duration ago as in 2h.")
    ] = None,
    limit: Limit = 50,
    after: After = None,
    json: Json = False,
) -> None:
    """Examples:

      scheduler runs --job backup --since 1d

      scheduler runs --state failed --state running

    List runs, newest first.
    """
    from scheduler.cli.following import progress_text
    from scheduler.cli.output import print_json, print_rows
    from scheduler.store.reading import RunFilter, list_runs

    which = RunFilter(job, _states(state), read_time(since, None, "--since"), page_start(after), limit)

    async def question(store: "Store", settings: "Settings") -> "list[Row]":
        return await list_runs(store, settings.tenant, which, lease_s=lease_s(settings))

    found = ask(context, question)
    if json:
        print_json({"runs": found, "next": next_page(found, limit)})
        return
    rows = [
        row | {"reason": row["held_by"] or row["reason"], "progress": progress_text(row["progress"])} for row in found
    ]
    columns = (column for column in _RUN_COLUMNS if column != "progress" or any(row["progress"] for row in rows))
    print_rows(rows, tuple(columns), empty="no such runs")


@run.command()
def show(context: typer.Context, *, run_id: RunId, json: Json = False) -> None:
    """Show a run: its state, its attempts, and the needs that held it."""
    from scheduler.cli.following import number_text, progress_text
    from scheduler.cli.output import print_fields, print_json, print_line, print_rows
    from scheduler.store.reading import get_run

    async def question(store: "Store", settings: "Settings") -> "Row":
        run = await find_run(store, settings.tenant, run_id)
        return await get_run(store, settings.tenant, run, lease_s=lease_s(settings))

    found = ask(context, question)
    if json:
        print_json(found)
        return
    shown = found | {"progress": progress_text(found["progress"])}
    print_fields({key: value for key, value in shown.items() if key not in {"attempts", "needs"}})
    if found["needs"]:
        print_rows(found["needs"], ("job", "when", "state", "run"), empty="")
    attempts = [row | _readable(row) for row in found["attempts"]]
    used = [column for column in _USAGE_COLUMNS if any(row[column] is not None for row in attempts)]
    print_rows(attempts, (*_ATTEMPT_COLUMNS[:-2], *used, *_ATTEMPT_COLUMNS[-2:]), empty="no attempt has ended")
    for row in attempts:
        if row["progress"]:
            print_line(f"attempt {row['attempt']}: progress {progress_text(row['progress'])}")
        if (late := row["late_end"]) is not None:
            said = ", ".join(str(part) for part in (late["outcome"], late.get("reason")) if part)
            print_line(f"attempt {row['attempt']}: too late, its executor said: {said}")
        for name, value in (row["metrics"] or {}).items():
            print_line(f"attempt {row['attempt']}: {name} {number_text(value)}")


def _readable(attempt: "Row") -> "Row":
    from scheduler.cli.output import amount

    sizes = {"peak_memory": "peak_memory_bytes", "read": "read_bytes", "written": "written_bytes"}
    return {name: None if attempt[column] is None else amount(attempt[column]) for name, column in sizes.items()}


@run.command()
def logs(
    context: typer.Context,
    *,
    run_id: RunId,
    attempt: Annotated[int | None, typer.Option("--attempt", min=1, help="Only this one; with -f, from it on.")] = None,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="Go on until the run ends; exit 1 if it failed.")
    ] = False,
    json: Json = False,
) -> None:
    """Examples:

      scheduler run logs 0198c0de

      scheduler run logs -f 0198c0de

    Print what a run wrote, attempt by attempt: the first 16 and the last 48 KiB of each. With --follow, print it
    while it is written, and on a terminal how far the run is; with --json, a line for each piece.
    """
    from scheduler.cli.output import print_json

    if follow:
        from scheduler.cli.following import follow_run

        raise typer.Exit(follow_run(context, run_id, attempt=attempt or 1, as_json=json))
    if json:
        run, found = _outputs(context, run_id, attempt)
        print_json({"run": run, "attempts": found})
    else:
        print_outputs(context, run_id, attempt=attempt)


def print_outputs(context: typer.Context, run_id: str, *, attempt: int | None = None, headed: bool = False) -> None:
    """Print what the attempts wrote; ``headed`` names the attempt also where it is the only one."""
    from scheduler.cli.output import print_line, print_output

    _, found = _outputs(context, run_id, attempt)
    for output in found:
        if headed or len(found) > 1:
            print_line(f"--- attempt {output['attempt']}: {output['outcome']}")
        print_output(output["head"] or "")
        if output["tail"]:
            print_line(f"--- cut: {output['total_bytes']} bytes in all")
            print_output(output["tail"])


def _outputs(context: typer.Context, run_id: str, attempt: int | None) -> "tuple[UUID, list[Row]]":
    from scheduler.store.reading import list_outputs

    async def question(store: "Store", settings: "Settings") -> "tuple[UUID, list[Row]]":
        run = await find_run(store, settings.tenant, run_id)
        return run, await list_outputs(store, settings.tenant, run, attempt=attempt)

    return ask(context, question)


@run.command()
def why(context: typer.Context, *, run_id: RunId, json: Json = False) -> None:
    """Say what holds a run back: the gates before its start, in their order, and the runs in the way."""
    from scheduler.cli.output import print_json, print_line, print_rows
    from scheduler.domain.why import held_by
    from scheduler.store.why import Why, ask_gates

    async def question(store: "Store", settings: "Settings") -> Why:
        run = await find_run(store, settings.tenant, run_id)
        return await ask_gates(store, settings.tenant, run, lease_s=lease_s(settings))

    found = ask(context, question)
    first = held_by(found.gates)
    gates = [
        {"gate": gate.gate, "holds": gate.holds, "reason": gate.reason, "runs": list(gate.runs)} for gate in found.gates
    ]
    if json:
        held = first and first.gate
        print_json({"run": found.run, "job": found.job, "state": found.state, "held_by": held, "gates": gates})
        return
    print_line(f"{found.run} of {found.job} is {found.state}: {first.reason if first else 'nothing holds it'}")
    print_rows(gates, ("gate", "holds", "reason", "runs"), empty="it has passed every gate")


@run.command()
def retry(context: typer.Context, *, run_id: RunId, json: Json = False) -> None:
    """Run a run again, with its params, as a new run. Exit 4 when it is not over."""
    retry_run(context, run_id, as_json=json)


def retry_run(context: typer.Context, run_id: str, *, params: "Mapping[str, Any] | None" = None, as_json: bool) -> None:
    """Ask for a retry and say so; ``params`` go before the run's own."""
    from scheduler.cli.output import print_json, print_line
    from scheduler.clock import SystemClock
    from scheduler.store.control import Asked
    from scheduler.store.control import retry_run as ask_retry

    async def question(store: "Store", settings: "Settings") -> tuple[UUID, Asked]:
        run = await find_run(store, settings.tenant, run_id)
        return run, await ask_retry(store, settings.tenant, run, params=params, clock=SystemClock())

    run, asked = ask(context, question)
    if as_json:
        print_json({"run": run, "job": asked.job, "firing": asked.firing_id})
    else:
        print_line(f"{asked.job}: fired, {asked.firing_id}")


def next_page(found: "Sequence[Row]", limit: int) -> Any:
    """Return what --after takes for the next page; None when this is the last."""
    return found[-1]["id"] if len(found) == limit else None


def page_start(text: str | None) -> UUID | None:
    """Return the id that --after names."""
    try:
        return None if text is None else UUID(text)
    except ValueError:
        raise typer.BadParameter(f"--after: {text!r} is no id") from None


def _states(given: list[str] | None) -> list[str] | None:
    from schemas.vocabulary import RunState

    known = [state.value for state in RunState]
    for state in given or ():
        if state not in known:
            raise typer.BadParameter(f"--state: {state!r} is none of {', '.join(known)}")
    return given


def register(app: typer.Typer) -> None:
    run.command()(cancel)
    app.command()(runs)
    app.add_typer(run, name="run")
