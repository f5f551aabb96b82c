"""All of the scheduler in one process: ``scheduler up``, and an object for programs that embed it.

PostgreSQL is a private server unless ``database_url`` is set, the broker is in this process unless
``amqp_url`` is set; everything else is what the actors are as processes of their own.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AsyncExitStack
from functools import partial
from typing import Final, Self

import structlog

from actors.base import Actor
from actors.executor import Executor
from actors.recorder import Recorder
from scheduler.embedded.postgres import PrivatePostgres
from scheduler.errors import TransientError
from scheduler.hosting import Check, LinkCheck, Work
from scheduler.roles import ACTOR_ROLES
from scheduler.service import Service
from scheduler.store.audit import person
from scheduler.store.crash_book import StoreCrashBook
from scheduler.store.definitions import ApplyResult, Wanted, apply, list_pools
from scheduler.store.measuring import Measuring
from scheduler.store.migrate import migrate
from scheduler.store.registry import list_homes, store_of
from scheduler.store.stores import Stores
from scheduler.transport.amqp_admin import admin
from scheduler.transport.topology import topology_of
from scheduler.wiring import (
    World,
    growth,
    make_dispatcher,
    make_executor,
    make_recorder,
    make_suspects,
    make_ticker,
    make_watcher,
    open_link,
    open_stores,
    store_check,
)
from scheduler.wiring_apart import Make, with_branches

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_CONNECTIONS: Final = 2
"""Of the pool of each role, opened when first needed. Each costs the private server a process of some megabytes."""


class EmbeddedScheduler:
    """A context manager; inside it jobs run.

    ``world.broker`` is given when no ``amqp_url`` is set. ``stores`` are open inside.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.stack = AsyncExitStack()
        self._stores: Stores | None = None
        self._actors: Actors | None = None
        self._declared: tuple[Mapping[str, int], AbstractSet[str]] = ({}, set())
        self._dsn_of: Callable[[str], str]
        self.checks: Mapping[str, Check] = {}

    @property
    def stores(self) -> Stores:
        if self._stores is None:
            raise RuntimeError("the scheduler is not open")
        return self._stores

    async def __aenter__(self) -> Self:
        await self.open()
        await self.actors.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self.actors.drain()
        finally:
            await self.stack.aclose()

    @property
    def actors(self) -> "Actors":
        """The actors, started and drained in the order that leaves nothing unsaid."""
        if self._actors is None:
            raise RuntimeError("the scheduler is not open")
        return self._actors

    async def open(self) -> Work:
        """Bring up database, schema and broker, and make the actors, unstarted.

        Raises:
            TransientError: database or broker are away; call ``stack.aclose`` and begin anew.
            ConfigurationError, ConflictError: waiting would not help.
        """
        self._declared = ({}, set())
        try:
            return await self._open()
        except BaseException:
            await self.stack.aclose()
            raise

    def dsn_of(self, actor: str) -> str:
        """Return the DSN by which ``actor`` connects, once it is open."""
        return self._dsn_of(ACTOR_ROLES[actor])

    async def apply(self, definitions: Wanted, *, prune: bool = False) -> ApplyResult:
        """Apply definitions; a pool that is new gets its queue."""
        insecure = self.world.settings.insecure_database
        main = self.stores.main.acting(person("up", self.world.settings.tenant))
        async with store_of(main, definitions.tenant, name="up", allow_insecure=insecure) as store:
            result = await apply(store, definitions, prune=prune, clock=self.world.clock)
        if result.pools:
            await self._declare()
        return result

    async def _open(self) -> Work:
        world, stack = self.world, self.stack
        dsn = await self._database()
        await migrate(dsn)
        self._stores = await open_stores(dsn, stack, name="up", size=_CONNECTIONS)
        await self._declare()
        stores = {
            actor: await open_stores(self._dsn_of(role), stack, name=actor, size=_CONNECTIONS)
            for actor, role in ACTOR_ROLES.items()
            if actor != "ingress"
        }
        links = {actor: await open_link(world, stack, actor=actor) for actor in ("up", "executor")}
        executor = await make_executor(world, links["executor"], stack)
        dispatcher = make_dispatcher(world, stores["dispatcher"], links["up"])
        dispatcher.on_definitions = self._declare
        others: list[tuple[Actor, Make]] = [
            (make_recorder(world, stores["recorder"], links["up"]), partial(make_recorder, world)),
            (dispatcher, partial(make_dispatcher, world)),
            (make_ticker(world, stores["ticker"], links["up"]), partial(make_ticker, world)),
            (make_watcher(world, stores["watcher"], links["up"]), partial(make_watcher, world)),
        ]
        suspects = make_suspects(world, StoreCrashBook(stores["recorder"].main))
        for actor in (executor, *(other for other, _ in others)):
            actor.suspects = suspects
        branching = [
            with_branches(other, stores[other.name].main, links["up"], growth(world, make, size=_CONNECTIONS))
            for other, make in others
        ]
        self._actors = Actors(executor, branching)
        self.checks = {"broker": LinkCheck(links["up"]), "database": store_check(self._stores)}
        measuring = Measuring(self._stores.main, world.clock, with_jobs=True)
        return Work(self._actors, self.checks, measuring)

    async def _database(self) -> str:
        if self.world.settings.database_url is not None:
            named = self.world.settings.database_url.get_secret_value()
            self._dsn_of = lambda _: named
            return named
        server = PrivatePostgres(self.world.settings.data_dir, self.world.clock)
        self._dsn_of = server.dsn_of
        self.stack.push_async_callback(server.stop)
        await server.start()
        keeper = Service("postgres", self.world.clock, self.world.rng)
        keeper.keep("private server", partial(_keep_running, server))
        self.stack.push_async_callback(keeper.stop)
        return server.dsn

    async def _declare(self) -> None:
        """Make the queues of the pools there are now; costs two queries when no pool changed.

        Not in vhosts of tenants: there, and with their executors, it is for ``broker declare``.
        """
        pools, homes = await list_pools(self.stores.main), await list_homes(self.stores.main)
        sharing = {tenant for tenant, home in homes.items() if home.broker is None}
        if (pools, sharing) == self._declared:
            return
        parts = topology_of(pools, sharing)
        settings = self.world.settings
        if self.world.broker is not None:
            self.world.broker.declare(parts)
        elif settings.amqp_url is not None:
            management = None if settings.management_url is None else settings.management_url.get_secret_value()
            url = settings.amqp_url.get_secret_value()
            async with admin(url, management, queue_type=settings.queue_type) as operator:
                await operator.declare(parts)
        self._declared = (pools, sharing)


_HEAR_OUT_S: Final = 5.0


class Actors:
    """All as one. Ends are said before those who hear them go."""

    def __init__(self, executor: Executor, others: Sequence[Service]) -> None:
        self._executor = executor
        self._others = others

    async def start(self) -> None:
        for actor in (*self._others, self._executor):
            await actor.start()

    async def drain(self) -> None:
        recorder, dispatcher, ticker, watcher = self._others
        for actor in (watcher, ticker, self._executor):
            await actor.drain()
        await self._heard_out()
        for actor in (recorder, dispatcher):
            await actor.drain()

    async def _heard_out(self) -> None:
        """Wait until the Recorder has heard what the executor said last: the broker in memory goes with us."""
        transport, clock = self._executor.transport, self._executor.clock
        deadline = clock.monotonic() + _HEAR_OUT_S
        for queue in Recorder.queues:
            while (await transport.depth(queue))[0] and clock.monotonic() < deadline:
                await clock.sleep(0.02)

    async def stop(self) -> None:
        await asyncio.gather(*(actor.stop() for actor in (self._executor, *self._others)))

    def troubles(self) -> dict[str, str]:
        return {
            f"{actor.name} {loop}": trouble
            for actor in (*self._others, self._executor)
            for loop, trouble in actor.troubles().items()
        }


async def _keep_running(server: PrivatePostgres) -> None:
    """Start the private server again whenever it dies."""
    while True:
        await server.lost().wait()
        log.error("postgres.lost")
        try:
            await server.start()
        except TransientError:
            await server.stop()
            raise
        log.info("postgres.restarted")
