"""``scheduler queue``."""

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from scheduler.cli.shared import Json, ask

if TYPE_CHECKING:
    from scheduler.config import Settings
    from scheduler.store.stores import Store

queue = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="What waits for the executors of a pool.")

Pool = Annotated[str, typer.Argument(metavar="POOL", help="The pool.")]
_COLUMNS: Final = ("pool", "ready", "queued", "running", "queue_limit", "paused_at")


@queue.command(name="list")
def list_all(context: typer.Context, *, json: Json = False) -> None:
    """List the pools: how many runs of all tenants are ready, offered and running, and since when one is paused."""
    from scheduler.cli.output import print_json, print_rows
    from scheduler.store.queues import list_queues

    async def question(store: "Store", _settings: "Settings") -> list[dict[str, Any]]:
        return await list_queues(store)

    found = ask(context, question, of_tenant=False)
    if json:
        print_json({"queues": found})
        return
    print_rows(found, _COLUMNS, empty="no pools")


@queue.command()
def pause(context: typer.Context, *, pool: Pool, json: Json = False) -> None:
    """Start nothing more in a pool, of any tenant; runs under way go on."""
    from scheduler.store.queues import pause_queue

    async def question(store: "Store", _settings: "Settings") -> bool:
        return await pause_queue(store, pool)

    _say(pool, "paused", changed=ask(context, question, of_tenant=False), as_json=json)


@queue.command()
def resume(context: typer.Context, *, pool: Pool, json: Json = False) -> None:
    """Start runs in a paused pool again."""
    from scheduler.store.queues import resume_queue

    async def question(store: "Store", _settings: "Settings") -> bool:
        return await resume_queue(store, pool)

    _say(pool, "resumed", changed=ask(context, question, of_tenant=False), as_json=json)


@queue.command()
def drain(
    context: typer.Context,
    *,
    pool: Pool,
    timeout: Annotated[str, typer.Option("--timeout", help="Wait no longer.")] = "10m",
    json: Json = False,
) -> None:
    """Pause a pool and wait until nothing runs there. Exit 1 when something still does; the pool stays paused."""
    from scheduler.cli.output import print_json, print_line
    from scheduler.clock import SystemClock
    from scheduler.store.queues import drain_queue
    from schemas.durations import parse_duration

    try:
        timeout_s = parse_duration(timeout).total_seconds()
    except ValueError as error:
        raise typer.BadParameter(f"--timeout: {error}") from None

    async def question(store: "Store", _settings: "Settings") -> int:
        return await drain_queue(store, pool, timeout_s=timeout_s, clock=SystemClock())

    running = ask(context, question, of_tenant=False)
    if json:
        print_json({"pool": pool, "paused": True, "running": running})
    else:
        print_line(f"{pool}: paused, {f'{running} still run' if running else 'nothing runs'}")
    raise typer.Exit(1 if running else 0)


@queue.command()
def clear(
    context: typer.Context,
    *,
    pool: Pool,
    reason: Annotated[str, typer.Option("--reason", help="Kept with the runs.")] = "its queue was cleared by a person",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Cancel every run of the tenant that waits in a pool for an executor; those that run go on."""
    from scheduler.cli.output import print_json, print_line
    from scheduler.store.queues import clear_queue

    if not yes:
        typer.confirm(f"Cancel every run that waits in pool {pool}?", abort=True, err=True)

    async def question(store: "Store", settings: "Settings") -> int:
        return await clear_queue(store, settings.tenant, pool, reason=reason)

    cleared = ask(context, question)
    if json:
        print_json({"pool": pool, "cancelled": cleared})
    else:
        print_line(f"{pool}: {cleared} cancelled")


def _say(pool: str, word: str, *, changed: bool, as_json: bool) -> None:
    from scheduler.cli.output import print_json, print_line

    if as_json:
        print_json({"pool": pool, "changed": changed})
    else:
        print_line(f"{pool}: {word}" if changed else f"{pool}: as it was")


def register(app: typer.Typer) -> None:
    app.add_typer(queue, name="queue")
