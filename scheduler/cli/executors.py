"""``scheduler executors``, and what is done with one of them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

import typer

from scheduler.cli.shared import Json, ask, lease_s

if TYPE_CHECKING:
    from scheduler.config import Settings
    from scheduler.store.reading import Row
    from scheduler.store.stores import Store

_COLUMNS: Final = (
    "name", "pool", "alive", "busy", "slots", "draining", "held", "handlers", "labels", "host", "pid", "seen_at"
)  # fmt: skip

executors = typer.Typer(
    invoke_without_command=True,
    rich_markup_mode=None,
    help="""\
Examples:

  scheduler executors

  scheduler executors drain nightly-3f9a12bc --wait

List executors that live, or stopped within a day; drain one of them, or let it work again.
With --tenant NAME of a tenant with a vhost of its own: those that are there.""",
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The executor, as the list names it.")]


@executors.callback()
def list_all(context: typer.Context, *, json: Json = False) -> None:
    from scheduler.cli.output import print_json, print_rows
    from scheduler.store.reading import list_executors

    if context.invoked_subcommand is not None:
        return

    async def question(store: "Store", settings: "Settings") -> "list[Row]":
        return await list_executors(store, lease_s=lease_s(settings))

    found = ask(context, question, of_tenant=False, of_executors=True)
    if json:
        print_json({"executors": found})
        return
    print_rows(found, _COLUMNS, empty="no executors")


@executors.command()
def drain(
    context: typer.Context,
    *,
    name: Name,
    wait: Annotated[bool, typer.Option("--wait", help="Until nothing runs there any more.")] = False,
    timeout: Annotated[str, typer.Option("--timeout", help="Wait no longer.")] = "10m",
    json: Json = False,
) -> None:
    """Examples:

      scheduler executors drain nightly-3f9a12bc --wait && systemctl restart scheduler-executor

    Let an executor finish what it runs and take nothing new. It goes on living, idle: stop it, or
    undrain it; a new process starts undrained. Exit 1 when --wait finds it still busy at the end.
    """
    from scheduler.cli.output import print_json, print_line
    from scheduler.clock import SystemClock
    from scheduler.store.executors import drain_executor, wait_drained
    from schemas.durations import parse_duration

    try:
        timeout_s = parse_duration(timeout).total_seconds()
    except ValueError as error:
        raise typer.BadParameter(f"--timeout: {error}") from None

    async def question(store: "Store", settings: "Settings") -> int | None:
        lease = lease_s(settings)
        drained = await drain_executor(store, name, lease_s=lease)
        if not wait:
            return None
        return await wait_drained(store, drained, lease_s=lease, timeout_s=timeout_s, clock=SystemClock())

    running = ask(context, question, of_tenant=False, of_executors=True)
    document: dict[str, Any] = {"executor": name, "drain": True}
    if json:
        print_json(document | ({"drained": running == 0, "running": running} if wait else {}))
    elif not wait:
        print_line(f"{name}: takes nothing new")
    elif running is None:
        print_line(f"{name}: has not obeyed yet")
    else:
        print_line(f"{name}: drained, {f'{running} still run' if running else 'nothing runs'}")
    raise typer.Exit(1 if wait and running != 0 else 0)


@executors.command()
def undrain(context: typer.Context, *, name: Name, json: Json = False) -> None:
    """Let a drained executor take runs again."""
    from scheduler.cli.output import print_json, print_line
    from scheduler.store.executors import undrain_executor

    async def question(store: "Store", settings: "Settings") -> Sequence[UUID]:
        return await undrain_executor(store, name, lease_s=lease_s(settings))

    ask(context, question, of_tenant=False, of_executors=True)
    if json:
        print_json({"executor": name, "drain": False})
    else:
        print_line(f"{name}: takes runs again")


def register(app: typer.Typer) -> None:
    app.add_typer(executors, name="executors")
