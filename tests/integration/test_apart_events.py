"""What comes for a tenant with a database of its own: recorded and decided there, and kept while it is away."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aio_pika
import aiohttp
import asyncpg
import pytest

from scheduler.clock import SystemClock
from scheduler.definitions.model import Definitions
from scheduler.store.definitions import apply
from scheduler.store.migrate import migrate
from scheduler.store.moving import Place, found_tenant
from scheduler.store.registry import store_of
from scheduler.store.stores import Stores
from scheduler.store.tenants import Terms
from schemas.job_spec import JobSpec
from schemas.webhook_spec import WebhookSpec
from tests.support.cli import Cli, end, status
from tests.support.services import Estate, free_port
from tests.support.services_postgres import PostgresServer

DEADLINE_S = 40.0
COMMAND = {"command": ["true"]}
JOBS = {
    "called": {"run": COMMAND, "triggers": [{"webhook": "in"}]},
    "told": {"run": COMMAND, "triggers": [{"event": {"topic": "orders.*"}}]},
}
ENDED = "SELECT count(*) FROM scheduler.runs WHERE job_name = $1 AND state = 'succeeded'"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture
async def own(estate: Estate, tmp_path: Path, database_url: str) -> AsyncIterator[PostgresServer]:
    """The server of the tenant ``own``, which the main database names, with its jobs and its endpoint."""
    server = PostgresServer(estate, f"own-{uuid.uuid4().hex[:8]}")
    server.start()
    await migrate(server.dsn())
    (tmp_path / "own").write_text(server.dsn())
    stores = await Stores.open(database_url, name="test", size=1)
    await found_tenant(stores.main, "own", Terms(), Place(f"{{file:{tmp_path / 'own'}}}", server.dsn()))
    specs = {name: JobSpec.model_validate(fields) for name, fields in JOBS.items()}
    hooks = {"in": WebhookSpec.model_validate({"verify": "none"})}
    async with store_of(stores.main, "own", name="test") as store:
        wanted = Definitions("own", None, specs, {}, (), webhooks=hooks)
        await apply(store, wanted, prune=False, clock=SystemClock())
    await stores.close()
    yield server
    server.close()


@asynccontextmanager
async def up(folder: Path, database_url: str, amqp_url: str) -> AsyncIterator[int]:
    """Run everything in one process; lend its port."""
    (folder / "jobs.yaml").write_text("version: 1\njobs: {}\n")
    cli, port = Cli(folder), free_port()
    cli.environment |= {"DATABASE_URL": database_url, "AMQP_URL": amqp_url, "SCHEDULER_ONE_DATABASE_USER": "1"}
    process = cli.begin("up", "jobs.yaml", "--port", str(port))
    try:
        await until(lambda: asyncio.to_thread(status, port, "/readyz"), 200)
        yield port
    finally:
        assert 0 == await asyncio.to_thread(end, process)


async def until(question: Callable[[], Awaitable[object]], wanted: object) -> None:
    found = None
    try:
        async with asyncio.timeout(DEADLINE_S):
            while (found := await question()) != wanted:
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"it stayed {found!r}, not {wanted!r}") from None


async def ask(dsn: str, query: str, *arguments: object) -> object:
    link = await asyncpg.connect(dsn)
    try:
        return await link.fetchval(query, *arguments)
    finally:
        await link.close()


async def post(port: int, name: str, key: str) -> int:
    headers = {"Idempotency-Key": key}
    async with aiohttp.ClientSession() as http:
        url = f"http://127.0.0.1:{port}/hooks/own/{name}"
        async with http.post(url, json={"key": key}, headers=headers) as answer:
            return answer.status


async def test_webhooks_and_messages_reach_it_and_wait_for_it(
    own: PostgresServer, tmp_path: Path, database_url: str, amqp_url: str
) -> None:
    async def ended(job: str, count: int) -> None:
        await until(lambda: ask(own.dsn(), ENDED, job), count)

    connection = await aio_pika.connect(amqp_url)
    async with connection, up(tmp_path, database_url, amqp_url) as port:
        events = await (await connection.channel()).get_exchange("scheduler.events", ensure=False)

        async def publish(body: object) -> None:
            text = body if isinstance(body, bytes) else json.dumps(body).encode()
            await events.publish(aio_pika.Message(text, message_id=str(body), delivery_mode=2), "own.orders.eu")

        await until(lambda: post(port, "in", "first"), 202)
        assert 200 == await post(port, "in", "first")
        assert 401 == await post(port, "nothing", "x")
        for body in ({"n": 1}, {"n": 1}, b"{"):
            await publish(body)
        await ended("called", 1)
        await ended("told", 1)
        invalid = "SELECT reason LIKE 'not JSON%' FROM scheduler.events WHERE verdict = 'invalid'"
        await until(lambda: ask(own.dsn(), invalid), wanted=True)

        await asyncio.to_thread(own.stop, "immediate")
        assert 202 == await post(port, "in", "while-away"), "the broker keeps it"
        await publish({"n": 2})
        await asyncio.to_thread(own.start)

        await ended("called", 2)
        await ended("told", 2)
        counts = "SELECT string_agg(source || ' ' || verdict, ', ' ORDER BY received_at, id) FROM scheduler.events"
        found = await ask(own.dsn(), counts)
        assert sorted(str(found).split(", ")) == [
            "amqp invalid", "amqp started", "amqp started", "webhook started", "webhook started"]  # fmt: skip
        assert 0 == await ask(database_url, "SELECT count(*) FROM scheduler.events")
