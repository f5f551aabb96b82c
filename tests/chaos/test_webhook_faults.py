"""Webhooks while RabbitMQ and PostgreSQL die in turn: what was accepted is an event and a run, once."""

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from tests.chaos.conftest import Query
from tests.support.chaos import ActorProcess, Stage
from tests.support.hooks import SECRET, sign
from tests.support.services import SESSION_PIDS, Estate, free_port
from tests.support.services_postgres import PostgresServer
from tests.support.services_rabbit import RabbitNode

LEASE = "12s"
JOBS = """
version: 1
webhooks:
  orders: {verify: standard-webhooks, secrets: [{env: HOOK_SECRET}]}
jobs:
  sell: {run: {command: ["true"]}, triggers: [{webhook: orders}]}
"""
LEAST = 400
PER_S = 40
DEADLINE_S = 90.0
pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def node(estate: Estate) -> Iterator[RabbitNode]:
    made = RabbitNode(estate, "hooks-rabbit")
    made.start()
    made.wait_ready()
    SESSION_PIDS.update(made.pids)
    yield made
    made.close()


@pytest.fixture(scope="module")
def server(estate: Estate) -> Iterator[PostgresServer]:
    made = PostgresServer(estate, "hooks-postgres")
    made.start()
    SESSION_PIDS.update(made.pids)
    yield made
    made.close()


@pytest.fixture(scope="module")
def module_database(server: PostgresServer, execute: Query) -> str:
    execute(server.dsn(), "CREATE DATABASE hooks")
    return server.dsn("hooks")


@pytest.fixture(scope="module")
def module_vhost(node: RabbitNode) -> str:
    return node.amqp_url


@dataclass
class Sender:
    """Sends each delivery until it is accepted, as senders do; ``accepted`` has the event's id by delivery."""

    port: int
    accepted: dict[str, str] = field(default_factory=dict)
    answers: Counter[int] = field(default_factory=Counter)

    async def send(self, http: aiohttp.ClientSession, delivery: str) -> None:
        body = json.dumps({"delivery": delivery}).encode()
        async with asyncio.timeout(DEADLINE_S):
            while True:
                status, said = await self._post(http, body, delivery)
                self.answers[status] += 1
                if status in {200, 202}:
                    self.accepted[delivery] = said["event_id"]
                    return
                await asyncio.sleep(0.3)

    async def _post(self, http: aiohttp.ClientSession, body: bytes, delivery: str) -> tuple[int, dict[str, str]]:
        url = f"http://127.0.0.1:{self.port}/hooks/default/orders"
        try:
            async with http.post(url, data=body, headers=sign(body, delivery)) as answer:
                return answer.status, await answer.json(content_type=None)
        except aiohttp.ClientError:
            return 0, {}


@pytest.fixture
async def sender(stage: Stage, tmp_path: Path) -> AsyncIterator[Sender]:
    (tmp_path / "jobs.yaml").write_text(JOBS)
    stage.command("apply", str(tmp_path / "jobs.yaml"))
    port = free_port()
    ingress: ActorProcess = stage.start("ingress", HOOK_SECRET=SECRET, SCHEDULER_HTTP__PORT=str(port))
    await ingress.works()
    yield Sender(port)
    await ingress.drain()


async def test_nothing_accepted_is_lost_or_doubled_when_either_server_dies(
    stage: Stage, sender: Sender, node: RabbitNode, server: PostgresServer
) -> None:
    while_away: Counter[str] = Counter()
    all_back = asyncio.Event()

    async def load(http: aiohttp.ClientSession) -> int:
        """Send until both servers are back, however long that takes; return how many deliveries."""
        async with asyncio.TaskGroup() as group:
            for number in itertools.count():
                if all_back.is_set() and number >= LEAST:
                    return number
                group.create_task(sender.send(http, f"msg_{number}"))
                if number % 4 == 0:  # a sender that did not hear the answer
                    group.create_task(sender.send(http, f"msg_{number}"))
                await asyncio.sleep(1 / PER_S)
        raise AssertionError

    async def accepted_more_than(count: int) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while len(sender.accepted) <= count:
                await asyncio.sleep(0.02)

    async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as group:
        loading = group.create_task(load(http))
        await accepted_more_than(40)
        await asyncio.to_thread(server.kill9)
        before = len(sender.accepted)
        await accepted_more_than(before + 30)  # by the broker alone
        while_away["database"] = len(sender.accepted) - before
        await asyncio.to_thread(server.start)
        SESSION_PIDS.update(server.pids)
        await accepted_more_than(len(sender.accepted) + 30)
        await asyncio.to_thread(node.kill9)
        before = len(sender.accepted)
        await accepted_more_than(before + 30)  # by the database alone
        while_away["broker"] = len(sender.accepted) - before
        await asyncio.to_thread(node.start)
        await asyncio.to_thread(node.wait_ready)
        SESSION_PIDS.update(node.pids)
        await accepted_more_than(len(sender.accepted) + 30)
        all_back.set()

    sent = loading.result()
    ended = "SELECT count(*) FROM scheduler.runs WHERE job_name = 'sell' AND state = 'succeeded'"
    await stage.until(ended, holds=lambda count: count >= sent)
    undecided = "SELECT count(*) FROM scheduler.events WHERE verdict IS NULL"
    await stage.until(undecided, holds=lambda count: count == 0)
    async with stage.database() as db:
        rows = await db.fetch("SELECT id::text, data ->> 'delivery' AS delivery, verdict FROM scheduler.events")
        runs = await db.fetchval("SELECT count(*) FROM scheduler.runs WHERE job_name = 'sell'")
    assert sent == len(sender.accepted) == len(rows) == runs
    assert sender.accepted == {row["delivery"]: row["id"] for row in rows}
    assert {"started"} == {row["verdict"] for row in rows}
    assert min(while_away.values()) > 30
