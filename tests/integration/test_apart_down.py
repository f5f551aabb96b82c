"""Twenty tenants with databases of their own, under load, beside one whose database is gone, or never answers."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from scheduler.errors import DatabaseUnavailableError
from scheduler.store.migrate import migrate
from scheduler.store.moving import Place, found_tenant
from scheduler.store.registry import store_of
from scheduler.store.stores import Store
from scheduler.store.tenants import Terms
from tests.integration.test_apart import execute, found, give_job, opened, run_job, running, server
from tests.support.services import Estate
from tests.support.services_postgres import PostgresServer

if TYPE_CHECKING:
    from scheduler.store.pool import Connection

    Link = tuple[str, Store, Connection]

__all__ = ["server"]

TENANTS = [f"t{number:02}" for number in range(20)]
ACTORS = 5
FLOORS_S = {0.5: 0.5, 0.95: 3.0, 1.0: 5.0}
"""Of the median, of p95 and of the slowest: so long it may take, however short it took before."""


@asynccontextmanager
async def linked(main: Store, names: list[str]) -> AsyncIterator["list[Link]"]:
    """Lend of each tenant its name, its store and a connection to that."""
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(store_of(main, name, name="test")) for name in names]
        links = [await stack.enter_async_context(store.connection()) for store in stores]
        yield list(zip(names, stores, links, strict=True))


async def latencies(links: "list[Link]", rounds: int) -> list[float]:
    """Run the jobs of several tenants again and again at the same time; return every latency, sorted."""

    async def one(name: str, store: Store, link: "Connection") -> list[float]:
        return [await run_job(link, store, name) for _ in range(rounds)]

    return sorted(latency for found in await asyncio.gather(*(one(*link) for link in links)) for latency in found)


async def check_as_fast(measure: Callable[[], Awaitable[list[float]]], before: list[float]) -> None:
    """Hold that it is as fast as before at one of three looks. A machine with much else to do is slow for a while; who
    waits for a database that is gone is so as long as it is, and for the ten seconds of a connection.
    """
    looks = [before]
    for _ in range(3):
        looks.append(await measure())
        if all(share(looks[-1], of) < max(2 * share(before, of), floor_s) for of, floor_s in FLOORS_S.items()):
            return
    raise AssertionError([[f"{share(look, of):.3f}" for of in FLOORS_S] for look in looks])


def share(found: list[float], of: float) -> float:
    """Return what that part of ``found`` did not exceed."""
    return found[min(int(len(found) * of), len(found) - 1)]


class Silent:
    """Takes connections and says nothing. A context manager."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._kept: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._keep, "127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._kept:
            writer.close()
        await self._server.wait_closed()

    async def _keep(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._kept.append(writer)

    async def meanwhile(self, measure: Callable[[], Awaitable[list[float]]]) -> list[float]:
        """Measure until as many have come as there are actors, and once more; return every latency, sorted."""
        found, wanted = [], len(self._kept) + ACTORS
        while len(self._kept) < wanted:
            found += await measure()
        return sorted(found + await measure())


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_twenty_databases_go_on_as_before_while_one_is_down(
    server: PostgresServer, estate: Estate, tmp_path: Path
) -> None:
    other = PostgresServer(estate, f"other-{uuid.uuid4().hex[:8]}")
    other.start()
    try:
        async with opened(server, tmp_path) as main, AsyncExitStack() as stack:
            for name in TENANTS:
                await found(main, server, tmp_path, name)
            await execute(other.dsn(), "CREATE DATABASE downed")
            await migrate(other.dsn("downed"))
            (tmp_path / "downed").write_text(other.dsn("downed"))
            await found_tenant(main, "downed", Terms(), Place(f"{{file:{tmp_path / 'downed'}}}", other.dsn("downed")))
            await give_job(main, "downed")
            async with running(server, tmp_path):
                async with store_of(main, "downed", name="test") as store, store.connection() as link:
                    await run_job(link, store, "downed")
                links = await stack.enter_async_context(linked(main, TENANTS))
                await latencies(links, 2)  # every branch is open
                before = await latencies(links, 5)
                other.stop("immediate")
                await check_as_fast(partial(latencies, links, 5), before)
                async with Silent(other.port) as silent:
                    await check_as_fast(partial(silent.meanwhile, partial(latencies, links, 3)), before)
                other.start()
                async with asyncio.timeout(60):
                    while True:
                        try:
                            async with store_of(main, "downed", name="test") as store, store.connection() as link:
                                await run_job(link, store, "downed")
                            break
                        except (DatabaseUnavailableError, TimeoutError):
                            await asyncio.sleep(0.1)
    finally:
        other.close()
