"""``scheduler start``: one actor per process, any number of each."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scheduler.cli.shared import load

if TYPE_CHECKING:
    from scheduler.wiring import Code

start = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""\
Examples:

  scheduler start ticker

  scheduler start executor --pool gpu --slots 2 --handlers my_jobs

Run one actor until SIGTERM, then drain and exit 0. A second signal ends it at once.
A broker or a database that is away is waited for; /readyz on the probe port says so.""",
)

ProbePort = Annotated[int | None, typer.Option("--probe-port", min=0, max=65535, help="Port of /readyz and /metrics.")]
Handlers = Annotated[
    list[str] | None, typer.Option("--handlers", help="Module or .py file that registers handlers; repeatable.")
]
CodeDir = Annotated[
    Path | None, typer.Option("--code-dir", help="Where scripts and python modules of jobs lie.", file_okay=False)
]
Slots = Annotated[int | None, typer.Option("--slots", min=1, help="Attempts run at once.")]
Cpu = Annotated[str | None, typer.Option("--cpu", help="Cores that attempts with resources share, as in 3.5.")]
Label = Annotated[list[str] | None, typer.Option("--label", help="What jobs may demand, as in gpu=a100; repeatable.")]
Memory = Annotated[str | None, typer.Option("--memory", help="Memory that attempts with resources share, as in 6GiB.")]

Disk = Annotated[
    str | None, typer.Option("--disk", help="Disk space that attempts with resources share, as in 100GiB.")
]
Io = Annotated[
    float | None, typer.Option("--io", min=1, help="So many attempts with resources use the disk at once; low: half.")
]


@start.command()
def ticker(context: typer.Context, probe_port: ProbePort = None) -> None:
    """Turn time into firings."""
    _serve(context, "ticker", probe_port=probe_port)


@start.command()
def dispatcher(context: typer.Context, probe_port: ProbePort = None) -> None:
    """Decide firings, move flows along their needs, offer runs."""
    _serve(context, "dispatcher", probe_port=probe_port)


@start.command()
def recorder(context: typer.Context, probe_port: ProbePort = None) -> None:
    """Decide claims, keep leases, record ends."""
    _serve(context, "recorder", probe_port=probe_port)


@start.command()
def executor(
    context: typer.Context,
    *,
    pool: Annotated[str | None, typer.Option("--pool", help="The pool to serve.")] = None,
    slots: Slots = None,
    cpu: Cpu = None,
    memory: Memory = None,
    disk: Disk = None,
    io: Io = None,
    label: Label = None,
    handlers: Handlers = None,
    code_dir: CodeDir = None,
    probe_port: ProbePort = None,
) -> None:
    """Run the attempts of one pool. Needs the broker, never the database."""
    from scheduler.wiring import Code

    code = Code(code_dir or Path(), tuple(handlers or ()))
    flags: dict[str, Any] = {"pool": pool, "slots": slots, "labels": label or None}
    budget = {"cpu": cpu, "memory": memory, "disk": disk, "io": io}
    _serve(context, "executor", code, probe_port=probe_port, **flags, **budget)


@start.command()
def ingress(
    context: typer.Context,
    *,
    host: Annotated[
        str | None, typer.Option("--host", help="Address to listen on; beyond loopback set http.auth.")
    ] = None,
    port: Annotated[int | None, typer.Option("--port", min=0, max=65535, help="Port to listen on.")] = None,
    probe_port: ProbePort = None,
) -> None:
    """Serve the HTTP interface: /api/v1, /docs, /health."""
    flags: dict[str, Any] = {"http.host": host, "http.port": port}
    _serve(context, "ingress", probe_port=probe_port, **flags)


@start.command()
def watcher(context: typer.Context, *, code_dir: CodeDir = None, probe_port: ProbePort = None) -> None:
    """Turn changes of files into events. Relative paths are below the code directory."""
    from scheduler.wiring import Code

    _serve(context, "watcher", Code(code_dir or Path()), probe_port=probe_port)


def _serve(context: typer.Context, actor: str, code: "Code | None" = None, **flags: Any) -> None:
    import asyncio
    from contextlib import AsyncExitStack

    from scheduler.cli.process import Process
    from scheduler.hosting import Host, Work, serve
    from scheduler.wiring import Code, World, check_settings, prepare_actor

    process = Process(actor, load(context, **flags))
    world = World(process.settings, process.clock, process.rng, code or Code())
    check_settings(world, database=actor != "executor", broker=True)

    site = None
    if actor == "ingress":
        from scheduler.serving import make_site, prepare_ingress

        site = make_site(world, process.metrics)

    async def prepare(stack: AsyncExitStack) -> Work:
        return await (prepare_actor(actor, world, stack) if site is None else prepare_ingress(site, world, stack))

    async def run(stopping: asyncio.Event) -> int:
        host = Host(actor, prepare, process.metrics, process.clock, process.rng, world.waits)
        if site is not None:
            site.troubles, site.round_trips = host.troubles, host.round_trips
        await host.run(stopping, process.probe_address)
        return 0

    loop_factory = None
    if actor != "executor":  # uvloop hands children sockets as stdio: jobs of an executor would notice
        import uvloop

        loop_factory = uvloop.new_event_loop
    raise typer.Exit(serve(run, loop_factory=loop_factory))


def register(app: typer.Typer) -> None:
    app.add_typer(start, name="start")
