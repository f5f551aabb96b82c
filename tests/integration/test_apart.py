"""Tenants with databases of their own: they join, are moved, and are found at home."""

import asyncio
import random
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from scheduler.clock import SystemClock
from scheduler.config import Settings
from scheduler.definitions.model import Definitions
from scheduler.embedded_scheduler import EmbeddedScheduler
from scheduler.errors import ConflictError, DatabaseUnavailableError
from scheduler.store.control import trigger_jobs
from scheduler.store.definitions import apply
from scheduler.store.homes import Homes
from scheduler.store.migrate import migrate
from scheduler.store.moving import Place, found_tenant, move_tenant
from scheduler.store.registry import Home, register_home, store_of
from scheduler.store.stores import Store, Stores
from scheduler.store.tenant_store import TenantStore
from scheduler.store.tenants import Terms, create_tenant
from scheduler.transport.memory_broker import MemoryBroker
from scheduler.wiring import Code, World
from schemas.job_spec import JobSpec
from tests.support.services import Estate, free_port
from tests.support.services_postgres import PostgresServer

if TYPE_CHECKING:
    from scheduler.store.pool import Connection

HANDLERS = """
from scheduler.handlers import handler

@handler("noop")
async def noop(ctx, params):
    return None
"""
CLOCK = SystemClock()
JOB = JobSpec.model_validate({"run": {"handler": "noop"}, "overlap": "allow"})


@pytest.fixture
def server(estate: Estate) -> Iterator[PostgresServer]:
    opened = PostgresServer(estate, f"apart-{uuid.uuid4().hex[:8]}", settings={"max_connections": "400"})
    opened.start()
    yield opened
    opened.close()


async def execute(dsn: str, *statements: str) -> None:
    link = await asyncpg.connect(dsn)
    try:
        for statement in statements:
            await link.execute(statement)
    finally:
        await link.close()


@asynccontextmanager
async def opened(server: PostgresServer, folder: Path) -> AsyncIterator[Store]:
    """The main database, migrated, and a template for those of tenants."""
    await execute(server.dsn(), "CREATE DATABASE main")
    await migrate(server.dsn("main"))
    await execute(server.dsn(), "CREATE DATABASE spare TEMPLATE main")
    (folder / "noop_handler.py").write_text(HANDLERS)
    stores = await Stores.open(server.dsn("main"), name="test", size=4)
    yield stores.main
    await stores.close()


async def found(main: Store, server: PostgresServer, folder: Path, name: str) -> None:
    """Make a tenant in a database of its own, with one job."""
    await execute(server.dsn(), f"CREATE DATABASE {name} TEMPLATE spare")
    (folder / name).write_text(server.dsn(name))
    await found_tenant(main, name, Terms(), Place(f"{{file:{folder / name}}}", server.dsn(name)))
    await give_job(main, name)


async def give_job(main: Store, name: str) -> None:
    async with store_of(main, name, name="test") as store:
        await apply(store, Definitions(name, None, {"job": JOB}, {}, ()), prune=False, clock=CLOCK)


@asynccontextmanager
async def running(
    server: PostgresServer, folder: Path, amqp_url: str | None = None
) -> AsyncIterator[EmbeddedScheduler]:
    given = {"data_dir": folder / "state", "database_url": server.dsn("main"), "amqp_url": amqp_url}
    settings = Settings.model_validate(given | {"one_database_user": True})
    broker = MemoryBroker() if amqp_url is None else None
    world = World(settings, CLOCK, random.Random(1), Code(folder, ("noop_handler.py",)), broker)
    async with EmbeddedScheduler(world) as scheduler:
        yield scheduler


async def run_job(link: "Connection", store: Store, name: str, *, within_s: float = 20.0) -> float:
    """Fire a tenant's job and return the seconds until its run has succeeded."""
    begun = time.monotonic()
    [asked] = await trigger_jobs(store, name, ["job"], params=None, clock=CLOCK)
    async with asyncio.timeout(within_s):
        while not await link.fetchval(
            "SELECT r.state = 'succeeded' FROM runs AS r JOIN firings AS f ON f.run_id = r.id WHERE f.id = $1",
            asked.firing_id,
        ):
            await asyncio.sleep(0.01)
    return time.monotonic() - begun


@pytest.mark.slow
@pytest.mark.parametrize("broker", ["memory", "rabbit"])
async def test_a_database_joins_while_actors_run_and_one_that_is_down_keeps_nobody_from_starting(
    server: PostgresServer, tmp_path: Path, request: pytest.FixtureRequest, broker: str
) -> None:
    amqp_url = request.getfixturevalue("amqp_url") if broker == "rabbit" else None
    async with opened(server, tmp_path) as main:
        await create_tenant(main, "gone", Terms())
        await execute(
            server.dsn("main"),
            f"UPDATE scheduler.tenants SET database = '{{file:{tmp_path / 'gone'}}}' WHERE name = 'gone'",
        )
        (tmp_path / "gone").write_text(f"postgresql://postgres@127.0.0.1:{free_port()}/gone")
        await give_job(main, "default")
        async with running(server, tmp_path, amqp_url) as scheduler:
            async with main.connection() as link:
                await run_job(link, main, "default")
            await found(main, server, tmp_path, "late")
            async with store_of(main, "late", name="test") as store, store.connection() as link:
                await run_job(link, store, "late")
                assert 1 == await link.fetchval("SELECT count(*) FROM executors WHERE stopped_at IS NULL")
                assert "late" == await link.fetchval("SELECT tenant FROM attempts")
            assert {} == scheduler.actors.troubles()
            async with main.connection() as link:
                assert 0 == await link.fetchval("SELECT count(*) FROM runs WHERE tenant = 'late'")
                assert 0 == await link.fetchval("SELECT count(*) FROM orphan_ends")


@pytest.mark.slow
async def test_a_tenant_is_moved_with_all_it_has_and_goes_on_there(server: PostgresServer, tmp_path: Path) -> None:
    async with opened(server, tmp_path) as main:
        await create_tenant(main, "mover", Terms(weight=3, max_jobs=5))
        for tenant in ("mover", "default"):
            await give_job(main, tenant)
        await execute(server.dsn(), "CREATE DATABASE mover")
        (tmp_path / "mover").write_text(server.dsn("mover"))
        place = Place(f"{{file:{tmp_path / 'mover'}}}", server.dsn("mover"))
        async with running(server, tmp_path):
            async with main.connection() as link:
                await run_job(link, main, "mover")
                await run_job(link, main, "default")

            moved = await move_tenant(main, "mover", place, drain_s=10.0, clock=CLOCK)

            assert (1, 1, 1, 1) == tuple(moved[table] for table in ("jobs", "runs", "firings", "attempts"))
            async with main.connection() as link:
                assert [("default", 1)] == [
                    tuple(row) for row in await link.fetch("SELECT tenant, count(*) FROM runs GROUP BY tenant")
                ]
                assert await link.fetchval("SELECT database FROM tenants WHERE name = 'mover'") == place.reference
                await run_job(link, main, "default")
            async with store_of(main, "mover", name="test") as store, store.connection() as link:
                [terms] = await link.fetch("SELECT weight, max_jobs, suspended_at FROM tenants WHERE name = 'mover'")
                assert (3, 5, None) == tuple(terms)
                await run_job(link, store, "mover")
                assert 2 == await link.fetchval("SELECT count(*) FROM attempts")
        with pytest.raises(ConflictError, match="has a database of its own already"):
            await move_tenant(main, "mover", place, drain_s=0.0, clock=CLOCK)


async def test_nothing_is_moved_while_an_executor_holds_a_run_or_the_place_is_taken(
    server: PostgresServer, tmp_path: Path
) -> None:
    async with opened(server, tmp_path) as main:
        await give_job(main, "default")
        place = Place("{env:X}", server.dsn("spare"))
        async with main.connection() as link:
            await link.execute(
                """INSERT INTO runs (id, tenant, job_id, job_version, job_name, flow_id, fired_at, state, pool,
                                     priority)
                   SELECT gen_random_uuid(), tenant, id, 1, name, id, now(), 'queued', 'default', 2 FROM jobs"""
            )
            with pytest.raises(ConflictError, match="executors hold 1 runs: wait for them, or cancel them"):
                await move_tenant(main, "default", place, drain_s=0.3, clock=CLOCK)
            assert await link.fetchval("SELECT suspended_at IS NULL FROM tenants")

            await link.execute("UPDATE runs SET state = 'ready', ready_at = now()")
            await execute(
                server.dsn("spare"),
                "INSERT INTO scheduler.orphan_ends (run_id, attempt, tenant, body) "
                "VALUES (gen_random_uuid(), 1, 'default', '{}')",
            )
            with pytest.raises(ConflictError, match="the other database has rows of tenant default in orphan_ends"):
                await move_tenant(main, "default", place, drain_s=0.3, clock=CLOCK)
            assert (1, 1) == await link.fetchval("SELECT ((SELECT count(*) FROM jobs), (SELECT count(*) FROM runs))")
        await execute(server.dsn("spare"), "DELETE FROM scheduler.orphan_ends")
        assert 1 == (await move_tenant(main, "default", place, drain_s=0.3, clock=CLOCK))["runs"]


async def test_who_answers_for_all_tenants_finds_each_at_home(server: PostgresServer, tmp_path: Path) -> None:
    async with opened(server, tmp_path) as main:
        await found(main, server, tmp_path, "own")
        await give_job(main, "default")
        await create_tenant(main, "gone", Terms())
        await register_home(main, "gone", Home("{env:NO_SUCH_VARIABLE}"))
        stores = await Stores.open(server.dsn("main"), name="test", size=2)
        homes = Homes(stores, CLOCK, random.Random(1), size=2, allow_insecure=False)
        try:
            await homes.look()

            for tenant, database in (("own", "own"), ("default", "main")):
                async with TenantStore(stores.of(tenant), tenant).connection() as link:
                    assert (database, 1) == tuple(
                        (await link.fetch("SELECT current_database(), (SELECT count(*) FROM jobs)"))[0]
                    )
            with pytest.raises(DatabaseUnavailableError, match="NO_SUCH_VARIABLE"):
                stores.of("gone")
            (tmp_path / "gone").write_text(server.dsn("spare"))
            await register_home(main, "gone", Home(f"{{file:{tmp_path / 'gone'}}}"))
            await homes.look()
            assert "gone" == stores.of("gone").name
        finally:
            await homes.stop()
            await stores.close()
