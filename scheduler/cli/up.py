"""``scheduler up``: everything in one process."""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from scheduler.cli.shared import load
from scheduler.cli.start import CodeDir, Cpu, Disk, Handlers, Io, Label, Memory, Slots

if TYPE_CHECKING:
    from scheduler.config import Loaded
    from scheduler.definitions.model import Definitions
    from scheduler.wiring import Code

OWN_BROKER_LEASE: Final = timedelta(seconds=10)
"""With the broker in the same process no heartbeat is delayed by a network, so a job that a killed
``up`` left behind is started again sooner than the general lease would let it."""

_CONNECTIONS: Final = 2
"""Of the HTTP interface; each costs the private server a process of some megabytes."""


def up(
    context: typer.Context,
    *,
    files: Annotated[list[Path] | None, typer.Argument(metavar="[FILE]...", help="Definitions to apply.")] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65535, help="HTTP port: /api/v1, /docs, /readyz (default 8080).")
    ] = None,
    until_idle: Annotated[
        bool, typer.Option("--until-idle", help="End when nothing will happen any more; 1 if a run failed.")
    ] = False,
    handlers: Handlers = None,
    code_dir: CodeDir = None,
    http: Annotated[
        bool | None,
        typer.Option("--http/--no-http", help="Serve /api/v1, or only /readyz and /metrics; not with --until-idle."),
    ] = None,
    slots: Slots = None,
    cpu: Cpu = None,
    memory: Memory = None,
    disk: Disk = None,
    io: Io = None,
    label: Label = None,
) -> None:
    """Examples:

      scheduler up jobs.yaml

      scheduler up jobs.yaml --until-idle --slots 2

      DATABASE_URL=postgresql://… AMQP_URL=amqp://… scheduler up

    Run everything in one process: a private PostgreSQL server and a broker in memory unless
    DATABASE_URL and AMQP_URL name others. Applies the files first. SIGTERM drains it.
    """
    from scheduler.wiring import Code

    budget = {"cpu": cpu, "memory": memory, "disk": disk, "io": io}
    loaded = load(context, slots=slots, labels=label or None, probe_port=port, **budget)
    definitions = _read(files, loaded)
    where = code_dir or (files[0].parent if files else Path())
    if files and code_dir is None and files[0].is_dir():
        where = files[0]
    modules = (*(handlers or ()), *_handler_modules(definitions))
    raise typer.Exit(
        _serve(
            loaded,
            definitions,
            Code(where, modules),
            until_idle=until_idle,
            http=not until_idle if http is None else http,
        )
    )


def _read(files: "list[Path] | None", loaded: "Loaded") -> "Definitions | None":
    from scheduler.cli.definitions import say_warnings
    from scheduler.clock import SystemClock
    from scheduler.definitions.load import load as load_definitions

    if not files:
        return None
    definitions = load_definitions(files, settings=loaded.settings.job_defaults(), now=SystemClock().now())
    say_warnings(definitions)
    return definitions


def _handler_modules(definitions: "Definitions | None") -> list[str]:
    """Return the modules among the files whose jobs run in the executor itself."""
    from scheduler.definitions.code_source import handler_module

    files = definitions.files if definitions is not None else ()
    return [str(file.resolve()) for file in files if handler_module(file)]


def _serve(loaded: "Loaded", definitions: "Definitions | None", code: "Code", *, until_idle: bool, http: bool) -> int:
    import asyncio
    from contextlib import AsyncExitStack

    from scheduler.cli.process import Process
    from scheduler.cli.up_session import UpSession
    from scheduler.embedded_scheduler import EmbeddedScheduler
    from scheduler.hosting import Host, Work, serve
    from scheduler.sandbox.protection import protect_process
    from scheduler.serving import make_ingress, make_site, open_hooks, open_site
    from scheduler.transport.memory_broker import MemoryBroker
    from scheduler.wiring import World, check_settings, open_link

    process = Process("up", loaded)
    broker = MemoryBroker() if process.settings.amqp_url is None else None
    settings = process.settings
    if broker is not None and loaded.origins["lease"] == "default":
        settings = settings.model_copy(update={"lease": OWN_BROKER_LEASE})
    if settings.probe_port is not None:
        settings = settings.model_copy(update={"http": settings.http.model_copy(update={"port": settings.probe_port})})
    any_port = process.probe_address.or_any and loaded.origins["http.port"] == "default"
    world = World(settings, process.clock, process.rng, code, broker)
    check_settings(world, database=False, broker=True)
    site = make_site(world, process.metrics) if http else None
    protect_process()

    async def run(stopping: asyncio.Event) -> int:
        session = UpSession(world, until_idle=until_idle, stopping=stopping)

        async def prepare(stack: AsyncExitStack) -> Work:
            scheduler = EmbeddedScheduler(world)
            work = await scheduler.open()
            stack.push_async_callback(scheduler.stack.aclose)
            if definitions is not None:
                await scheduler.apply(definitions)
            if site is not None:
                await open_site(site, scheduler.dsn_of("ingress"), stack, size=_CONNECTIONS)
                await open_hooks(site, world, await open_link(world, stack, actor="ingress"), stack)
            return Work(session.over(scheduler), work.checks, work.measure)

        host = Host("up", prepare, process.metrics, process.clock, process.rng, world.waits)
        front = None
        if site is not None:
            site.troubles, site.round_trips = host.troubles, host.round_trips
            front = make_ingress(site, world, or_any=any_port)
        await host.run(stopping, process.probe_address, front)
        return 1 if until_idle and session.failed else 0

    return serve(run)


def register(app: typer.Typer) -> None:
    app.command()(up)
