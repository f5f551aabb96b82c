"""The disk of PostgreSQL is full: first for new pages of tables, then for its log, which ends the server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from tests.chaos.conftest import Query
from tests.support.chaos import DEADLINE_S, Stage
from tests.support.chaos_work import Work, every_step, make_work, soon, steps, writes
from tests.support.services import SESSION_PIDS, Estate
from tests.support.services_disk import SmallDisk
from tests.support.services_postgres import PostgresServer

LEASE = "5s"
JOBS, COUNT = 10, 12
# The second is said to whoever connects after a vacuum of the catalogue has made the backends' caches invalid.
REFUSALS = ("could not extend file", "could not write init file")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def disk(estate: Estate) -> Iterator[SmallDisk]:
    made = SmallDisk(estate, "small-disk")
    yield made
    made.close()


@pytest.fixture(scope="module")
def server(estate: Estate, disk: SmallDisk) -> Iterator[PostgresServer]:
    # Else it may come back on a disk that is still full and refuse each session: nothing would write the log then.
    made = PostgresServer(estate, "full-postgres", disk=disk, settings={"restart_after_crash": "off"})
    made.start()
    SESSION_PIDS.update(made.pids)
    yield made
    made.close()


@pytest.fixture(scope="module")
def module_database(server: PostgresServer, execute: Query) -> str:
    execute(server.dsn(), "CREATE DATABASE chaos")
    return server.dsn("chaos")


def much(tenant: str, ledger: Path) -> Work:
    """Return jobs that together make far more rows than fit into the pages there are."""
    begins = soon(0.3)
    names = [f"{tenant}-{number}" for number in range(JOBS)]
    job = {"run": writes(ledger), "overlap": "allow", "triggers": [every_step(begins, COUNT)]}
    return make_work(tenant, dict.fromkeys(names, job), {name: steps(begins, COUNT) for name in names})


@asynccontextmanager
async def full(stage: Stage, disk: SmallDisk, work: Work) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    """Fill the disk in the middle of the work; free it in the end. New connections may be refused meanwhile."""
    await stage.apply(work)
    await stage.told(lambda entries: len(entries) > JOBS, work)
    async with stage.database() as db:
        await db.execute("SELECT pg_switch_wal()")  # a whole segment is free: the tables meet the end first
        disk.fill()
        try:
            yield db
        finally:
            disk.free()


async def comes(holds: Callable[[], Awaitable[bool]], server: PostgresServer) -> None:
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not await holds():
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(server.log()[-3000:]) from None


async def test_no_page_can_be_added_to_a_table(stage: Stage, server: PostgresServer, disk: SmallDisk) -> None:
    work = much("pages", stage.ledger)

    async with full(stage, disk, work) as db:

        async def is_full() -> bool:
            return "could not extend file" in (log := server.log()) and sum(map(log.count, REFUSALS)) > JOBS

        async def lease_is_over() -> bool:
            return bool(
                await db.fetchval(f"SELECT now() > $1::timestamptz + interval '{LEASE}' + interval '1 second'", began)
            )

        await comes(is_full, server)
        # Every process lives through it, and is not tricked into giving up a lease.
        began = await db.fetchval("SELECT now()")
        await comes(lease_is_over, server)
        assert all(actor.alive for actor in stage.actors)

    await stage.settled(work)
    await stage.check(work)
    assert "PANIC" not in server.log()
    assert not any(actor.says("message.buried") or actor.says("loop.failed") for actor in stage.actors)


async def test_log_cannot_be_written_and_the_server_ends(stage: Stage, server: PostgresServer, disk: SmallDisk) -> None:
    work = much("log", stage.ledger)

    async with full(stage, disk, work):
        while server.alive():
            try:
                async with stage.database() as db:
                    await db.execute("SELECT pg_switch_wal(), pg_logical_emit_message(true, 'full', repeat('x', 1000))")
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await asyncio.sleep(0.1)
        assert "PANIC" in server.log()
        assert "No space left on device" in server.log()
    await asyncio.to_thread(server.start)
    SESSION_PIDS.update(server.pids)

    await stage.settled(work)
    await stage.check(work)
    assert all(actor.alive and not actor.says("message.buried") for actor in stage.actors)
