"""The composition root: the only place that knows the actors and what they work with.

``prepare_*`` open what one actor needs and return it unstarted; whoever holds the stack closes it.
"""

import asyncio
import os
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

import structlog
from pydantic import SecretStr

from actors.dispatcher import Dispatcher, DispatchSettings
from actors.executing.crash_notes import CrashNotes
from actors.executing.settings import ExecutorSettings
from actors.executor import Executor
from actors.file_watch import WatchSettings
from actors.recorder import Recorder, RecordSettings
from actors.suspects import Suspects
from actors.ticker import Ticker, TickSettings
from actors.watcher import Watcher
from scheduler.clock import Clock
from scheduler.config import CONFIG_FILE, PREFIX, Settings
from scheduler.errors import ConfigurationError, DatabaseUnavailableError
from scheduler.hosting import Check, LinkCheck, Waits, Work
from scheduler.ports import CrashBook, Transport
from scheduler.roles import ACTOR_ROLES
from scheduler.sandbox.address_guard import NetworkPolicy
from scheduler.sandbox.allowance import usable_cores, usable_memory
from scheduler.sandbox.bubblewrap import Opened, find_bubblewrap
from scheduler.sandbox.handlers import HandlerRegistry
from scheduler.sandbox.protection import protect_process
from scheduler.sandbox.runner import Runner
from scheduler.sandbox.warm import Recycling
from scheduler.seat import Seat
from scheduler.sending import Sender
from scheduler.store.crash_book import StoreCrashBook
from scheduler.store.database_url import check_database_url
from scheduler.store.measuring import Measuring
from scheduler.store.migrate import check_schema
from scheduler.store.own_role import check_own_role, take_role
from scheduler.store.stores import Stores
from scheduler.transport.broker_url import check_broker_url
from scheduler.transport.memory_broker import MemoryBroker
from scheduler.transport.open import open_transport
from scheduler.transport.senders import AmqpSender, MemorySender
from scheduler.watching.hints import Hints
from scheduler.wiring_apart import Growth, Make, with_branches

log: structlog.stdlib.BoundLogger = structlog.get_logger()

ACTORS: Final = ("ticker", "dispatcher", "executor", "recorder", "ingress", "watcher")
_LINK_UP_S: Final = 10.0
_MEMORY: Final = SecretStr("memory://")


@dataclass(frozen=True, slots=True)
class Code:
    """What an executor runs besides commands: where modules and scripts lie, which modules bring handlers."""

    code_dir: Path = Path()
    handlers: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class World:
    """What every actor of a process shares."""

    settings: Settings
    clock: Clock
    rng: random.Random
    code: Code = Code()
    broker: MemoryBroker | None = None
    """The broker of this process; None: the one at ``amqp_url``."""
    waits: Waits = field(default_factory=Waits)
    hints: Hints = field(default_factory=Hints)
    """Of all folders that this process watches."""


def check_settings(world: World, *, database: bool, broker: bool) -> None:
    """Refuse what cannot work or is unsafe before anything is opened.

    Raises:
        ConfigurationError: one line.
    """
    settings = world.settings
    if not world.code.code_dir.is_dir():
        raise ConfigurationError(f"--code-dir {world.code.code_dir}: no such directory")
    if database and settings.database_url is None:
        raise ConfigurationError("no database is named: set DATABASE_URL, as in postgresql://host/name")
    if settings.database_url is not None:
        check = partial(check_database_url, settings.database_url.get_secret_value())
        _refuse(check, "insecure_database", allowed=settings.insecure_database)
    if broker and world.broker is None:
        if settings.amqp_url is None:
            raise ConfigurationError("no broker is named: set AMQP_URL, as in amqps://host/vhost")
        check = partial(check_broker_url, settings.amqp_url.get_secret_value())
        _refuse(check, "insecure_broker", allowed=settings.insecure_broker)
    if broker and settings.publish_url is not None:
        check = partial(check_broker_url, settings.publish_url.get_secret_value())
        _refuse(check, "insecure_broker", allowed=settings.insecure_broker)


def _refuse(check: Callable[..., None], setting: str, *, allowed: bool) -> None:
    """Let ``check`` refuse; say so where only ``setting`` keeps it from refusing."""
    check(allow_insecure=allowed)
    if allowed:
        try:
            check()
        except ConfigurationError as error:
            log.warning("safety.overridden", setting=setting, reason=str(error))


async def open_stores(dsn: str, stack: AsyncExitStack, *, name: str, size: int = 5) -> Stores:
    """Open the stores and see that their schema is current. An actor, named so, takes its role where it may.

    Raises:
        DatabaseUnavailableError: no connection, or the schema is not (yet) the one of this program.
    """
    if name in ACTOR_ROLES:
        dsn = await take_role(dsn, name)
    stores = await Stores.open(dsn, name=name, size=size)
    stack.push_async_callback(stores.close)
    for store in stores.all():
        async with store.connection() as db:
            if (wrong := await check_schema(db)) is not None:
                raise DatabaseUnavailableError(wrong)
    return stores


async def open_link(world: World, stack: AsyncExitStack, *, actor: str) -> Transport:
    """Open a link to the broker and wait until it is up.

    Raises:
        BrokerUnavailableError: it is not up within ten seconds.
    """
    url = (world.settings.amqp_url or _MEMORY) if world.broker is None else _MEMORY
    transport = open_transport(
        url.get_secret_value(), actor=actor, clock=world.clock, rng=world.rng, broker=world.broker
    )
    stack.push_async_callback(transport.close)
    await transport.start()
    world.waits.why = lambda: transport.trouble
    try:
        await transport.wait_up(_LINK_UP_S)
    finally:
        world.waits.why = None
    return transport


def make_ticker(world: World, stores: Stores, transport: Transport) -> Ticker:
    tick = world.settings.tick
    per_minute = world.settings.catch_up.per_minute
    retention = world.settings.retention.plan(world.settings.timezone)
    settings = TickSettings(_seconds(tick.interval), tick.batch_size, per_minute, retention=retention)
    return Ticker(stores, transport, world.clock, world.rng, settings)


def make_suspects(world: World, book: CrashBook) -> Suspects | None:
    """Return who counts the crashes of readers; nobody does for a broker that ends with its readers."""
    return Suspects(book) if world.broker is None else None


def make_dispatcher(world: World, stores: Stores, transport: Transport) -> Dispatcher:
    settings = DispatchSettings(
        resend_s=_seconds(world.settings.resend),
        lease_s=_seconds(world.settings.lease),
        feed_retention_s=_seconds(world.settings.retention.feed),
        data_dir=world.settings.data_dir,
        insecure_database=world.settings.insecure_database,
    )
    return Dispatcher(stores, transport, world.clock, world.rng, settings)


def make_recorder(world: World, stores: Stores, transport: Transport) -> Recorder:
    settings = RecordSettings(lease_s=_seconds(world.settings.lease))
    return Recorder(stores, transport, world.clock, world.rng, settings)


def make_watcher(world: World, stores: Stores, transport: Transport) -> Watcher:
    watch = world.settings.watch
    settings = WatchSettings(_seconds(watch.lease), _seconds(watch.rescan), _seconds(watch.poll), watch.max_files)
    return Watcher(stores, transport, world.clock, world.rng, settings, (world.code.code_dir, world.hints))


def make_sender(world: World, transport: Transport) -> Sender:
    """Return the way out for messages that jobs publish."""
    if world.settings.publish_url is not None:
        return AmqpSender(world.settings.publish_url.get_secret_value())
    if world.broker is not None or world.settings.amqp_url is None:
        return MemorySender(transport)
    return AmqpSender(world.settings.amqp_url.get_secret_value())


async def make_executor(world: World, transport: Transport, stack: AsyncExitStack) -> Executor:
    """Make an executor in a seat of its own below the data directory.

    Raises:
        ConfigurationError: a handler module cannot be loaded, or the data directory cannot be used.
    """
    settings = world.settings
    registry = HandlerRegistry(world.code.code_dir)
    await asyncio.to_thread(registry.load, world.code.handlers)
    seat = await asyncio.to_thread(Seat.take, settings.data_dir / "executors", settings.pool)
    stack.callback(seat.leave)
    hidden = (settings.data_dir, Path(os.environ.get(f"{PREFIX}CONFIG") or CONFIG_FILE))
    opened = Opened(settings.sandbox_read, settings.sandbox_write, hidden)
    bubblewrap = await asyncio.to_thread(find_bubblewrap, opened)
    sender = make_sender(world, transport)
    stack.push_async_callback(sender.close)
    runner = Runner(
        sender=sender,
        code_dir=world.code.code_dir,
        run_dir=seat.folder / "runs",
        handlers=registry,
        network=NetworkPolicy.from_cidrs(map(str, settings.allow_networks), settings.allow_ports),
        clock=world.clock,
        recycling=Recycling(
            most_runs=settings.max_runs_per_process,
            most_bytes=settings.max_rss,
            idle_s=_seconds(settings.process_idle),
            most_idle=settings.slots,
        ),
        bubblewrap=None if isinstance(bubblewrap, str) else bubblewrap,
    )
    cores, memory = await asyncio.to_thread(lambda: (usable_cores(), usable_memory()))
    executor = ExecutorSettings(
        name=seat.name,
        pool=settings.pool,
        state_dir=seat.folder / "spool",
        slots=settings.slots,
        labels=settings.labels,
        lease_s=_seconds(settings.lease),
        drain_timeout_s=_seconds(settings.drain_timeout),
        tenant=settings.tenant,
        sandboxes=not isinstance(bubblewrap, str),
        cpu=settings.cpu or cores,
        memory_bytes=settings.memory or memory,
        disk_bytes=settings.disk,
        io=settings.io,
    )
    return Executor(executor, transport, runner, world.clock, world.rng)


async def prepare_actor(actor: str, world: World, stack: AsyncExitStack) -> Work:
    """Open what ``actor``, one of ACTORS, needs, in a process of its own."""
    if actor == "executor":
        protect_process()
        transport = await open_link(world, stack, actor=actor)
        executor = await make_executor(world, transport, stack)
        executor.suspects = make_suspects(world, CrashNotes(executor.settings.state_dir / "in-hand"))
        return Work(executor, {"broker": LinkCheck(transport)})
    stores = await open_stores(database_url(world.settings), stack, name=actor)
    await check_own_role(stores.main, allow_owner=world.settings.one_database_user)
    transport = await open_link(world, stack, actor=actor)
    make: Mapping[str, Callable[[World, Stores, Transport], Ticker | Dispatcher | Recorder | Watcher]] = {
        "ticker": make_ticker,
        "dispatcher": make_dispatcher,
        "recorder": make_recorder,
        "watcher": make_watcher,
    }
    checks: Mapping[str, Check] = {"broker": LinkCheck(transport), "database": store_check(stores)}
    made = make[actor](world, stores, transport)
    made.suspects = make_suspects(world, StoreCrashBook(stores.main))
    service = with_branches(made, stores.main, transport, growth(world, partial(make[actor], world)))
    measure = None if actor == "watcher" else Measuring(stores.main, world.clock, with_jobs=actor == "recorder")
    return Work(service, checks, measure)


def growth(world: World, make: Make, *, size: int = 5) -> Growth:
    """Return what the branches of an actor are made by; ``size`` is that of each one's pool of connections."""
    return Growth(make, size, world.settings, counts_crashes=world.broker is None)


def store_check(stores: Stores) -> Check:
    async def check() -> str | None:
        async with stores.main.connection() as db:
            return await check_schema(db)

    return check


def database_url(settings: Settings) -> str:
    if settings.database_url is None:
        raise ConfigurationError("no database is named: set DATABASE_URL")
    return settings.database_url.get_secret_value()


def _seconds(span: timedelta) -> float:
    return span / timedelta(seconds=1)
