"""A session that the server ends while nobody uses it, and whose end is not seen yet: it costs nobody an answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

import pytest
from asyncpg import InterfaceError

from scheduler.errors import DatabaseUnavailableError
from scheduler.store.pool import connect
from scheduler.store.stores import Store, Stores
from scheduler.store.tenant_store import TenantStore
from tests.support.api import serving
from tests.support.proxy import Mode, Proxy

IDLE = """SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity
WHERE datname = current_database() AND state = 'idle' AND application_name = 'scheduler/' || $1"""


class Line:
    """``dsn`` leads to the database at ``direct`` through a proxy that may keep back that the server has closed."""

    def __init__(self, proxy: Proxy, direct: str) -> None:
        self._proxy = proxy
        self._direct = direct
        parts = urlsplit(direct)
        account = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
        self.dsn = urlunsplit(parts._replace(netloc=f"{account}127.0.0.1:{proxy.port}"))

    @asynccontextmanager
    async def ended(self, name: str) -> AsyncIterator[None]:
        """Have the server end the sessions that show up as ``name`` and do nothing; until the end of the block only
        what it said of that has come.
        """
        self._proxy.mode, before = Mode.HOLD_END, self._proxy.held
        link = await connect(self._direct, name="test")
        ended = await link.fetchval(IDLE, name)
        await link.close()
        assert ended > 0
        async with asyncio.timeout(10):
            while self._proxy.held < before + ended:
                await asyncio.sleep(0.001)
        for _ in range(3):  # what is in the socket is read in the next round of the loop
            await asyncio.sleep(0)
        try:
            yield
        finally:
            self._proxy.mode = Mode.PASS

    async def lost(self, asking: "asyncio.Task[None]") -> None:
        """Cancel who is ``asking`` while nothing gets through, and reset the connection when that was noticed."""
        async with asyncio.timeout(10):
            while not self._proxy.held:
                await asyncio.sleep(0.001)
            before = self._proxy.accepted
            asking.cancel()
            while self._proxy.accepted == before:  # it comes to ask the server for a cancel
                await asyncio.sleep(0.001)
        self._proxy.cut()
        self._proxy.mode = Mode.PASS

    def stall(self) -> None:
        self._proxy.mode, self._proxy.held = Mode.BLACKHOLE_UP, 0


@pytest.fixture
async def line(database_url: str) -> AsyncIterator[Line]:
    parts = urlsplit(database_url)
    async with Proxy(parts.hostname or "127.0.0.1", parts.port or 5432) as proxy:
        yield Line(proxy, database_url)


@pytest.fixture
async def store(line: Line) -> AsyncIterator[Store]:
    stores = await Stores.open(line.dsn, name="pool", size=2)
    yield stores.main
    await stores.close()


@pytest.mark.parametrize("flush", [True, False])
async def test_a_transaction_begins_on_another_connection(line: Line, store: Store, *, flush: bool) -> None:
    async with line.ended("pool"), store.transaction(flush=flush) as db:
        assert 1 == await db.fetchval("SELECT 1")


@pytest.mark.parametrize("kind", ["connection", "transaction", "plain"])
async def test_a_transaction_of_a_tenant_does_too(line: Line, store: Store, kind: str) -> None:
    async with line.ended("pool"), getattr(TenantStore(store, "default"), kind)() as db:
        assert "default" == await db.fetchval("SELECT current_setting('app.tenant')")


@pytest.mark.parametrize("of_tenant", [False, True])
async def test_who_is_cancelled_while_a_transaction_begins_is_not_begun_again(
    line: Line, store: Store, *, of_tenant: bool
) -> None:
    """Else an actor that is stopped while its database goes away would go on."""

    async def begin() -> None:
        async with (TenantStore(store, "default") if of_tenant else store).transaction():
            pass

    line.stall()
    task = asyncio.create_task(begin())
    await line.lost(task)
    await asyncio.wait({task}, timeout=10)

    assert task.cancelled()


async def test_a_beginning_that_fails_of_a_cancel_is_not_repeated(store: Store) -> None:
    begun: list[object] = []

    @asynccontextmanager
    async def begin(connection: object) -> AsyncIterator[None]:
        begun.append(connection)
        try:
            await asyncio.Event().wait()
            yield
        except asyncio.CancelledError:
            raise InterfaceError("the session was over at its rollback") from None

    async def asking() -> None:
        async with store.within(begin):
            pass

    task = asyncio.create_task(asking())
    while not begun:
        await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.wait({task}, timeout=10)

    assert (1, True) == (len(begun), task.done())
    with pytest.raises(DatabaseUnavailableError):
        await task


async def test_a_single_statement_is_to_be_tried_again_and_then_has_another_connection(
    line: Line, store: Store
) -> None:
    async with line.ended("pool"):
        with pytest.raises(DatabaseUnavailableError):
            await store.probe()
        await store.probe()


async def test_who_asks_over_http_gets_an_answer(line: Line) -> None:
    async with serving(line.dsn) as api:
        assert 200 == (await api.get("/api/v1/jobs")).status
        async with line.ended("ingress"):
            assert 200 == (await api.get("/api/v1/jobs")).status
        async with line.ended("ingress"):
            assert 201 == (await api.ask("PUT", "/api/v1/jobs/one", {"run": {"command": ["true"]}})).status


async def test_who_cannot_be_identified_now_is_asked_to_come_again(line: Line) -> None:
    async with serving(line.dsn, http={"auth": "keys"}) as api:
        key = await api.key()
        assert 200 == (await api.get("/api/v1/jobs", key=key)).status
        async with line.ended("ingress"):
            found = await api.get("/api/v1/jobs", key=key)
            assert (503, "2") == (found.status, found.headers["Retry-After"])
            assert 200 == (await api.get("/api/v1/jobs", key=key)).status
