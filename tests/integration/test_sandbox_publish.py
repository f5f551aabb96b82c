"""Publish runs against a real RabbitMQ, and with the broker in memory."""

import random
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from scheduler.clock import SystemClock
from scheduler.domain.causation import DEPTH_HEADER
from scheduler.domain.trace import read_traceparent
from scheduler.ports import StopRequest
from scheduler.sending import Sender
from scheduler.transport import amqp_admin
from scheduler.transport.memory import MemoryBroker, MemoryTransport
from scheduler.transport.senders import AmqpSender, MemorySender
from scheduler.transport.topology import Binding, Exchange, Limits, Queue, Topology
from schemas.vocabulary import Outcome
from schemas.work import PublishWork, TimeLimits, WorkOrder
from tests.support.attempts import Place, a_place, an_order
from tests.support.services import free_port
from tests.support.transports import AmqpRig, take

OURS = Topology(
    (Exchange("alerts", "topic"), Exchange("scheduler.events", "topic")),
    (Queue("pages"), Queue("full", Limits(max_length=1, overflow="reject-publish")), Queue("events")),
    (
        Binding("alerts", "pages", "ops.#"),
        Binding("alerts", "full", "full"),
        Binding("scheduler.events", "events", "default.#"),
    ),
)


def publishing(exchange: str, key: str, hard_s: float = 30.0, **fields: Any) -> WorkOrder:
    work = PublishWork(kind="publish", exchange=exchange, routing_key=key, **fields)
    return an_order(work, limits=TimeLimits(hard_s=hard_s))


@asynccontextmanager
async def sending(root: Path, sender: Sender) -> AsyncIterator[Place]:
    """Open a place whose publish runs go by ``sender``, and close both."""
    async with a_place(root, sender=sender) as place:
        yield place
    await sender.close()


@pytest.fixture
async def place(tmp_path: Path, amqp_url: str) -> AsyncIterator[Place]:
    async with amqp_admin.admin(amqp_url, queue_type="classic") as operator:  # a quorum queue lets one or two more in
        await operator.declare(OURS)
    async with sending(tmp_path, AmqpSender(amqp_url)) as opened:
        yield opened


async def test_a_message_arrives_as_it_was_said(place: Place, amqp_url: str) -> None:
    ended = await place.run(publishing("alerts", "ops.page", json_body={"failed": "x"}, headers={"severity": "high"}))
    event = await place.run(publishing("scheduler.events", "default.orders", text="no json"))
    assert (Outcome.SUCCEEDED, None) == (ended.outcome, ended.reason)
    assert Outcome.SUCCEEDED is event.outcome

    async with AsyncExitStack() as stack:
        transport = await AmqpRig(stack, amqp_url).transport()
        (page,) = await take(await transport.consumer("pages", credit=1, name="test"), 1)
        (sent,) = await take(await transport.consumer("events", credit=1, name="test"), 1)

    assert (page.body, page.key, page.content_type) == (b'{"failed": "x"}', "ops.page", "application/json")
    trace = read_traceparent(page.headers["traceparent"])
    assert trace is not None
    assert dict(page.headers) == {"severity": "high", "traceparent": trace, DEPTH_HEADER: "1"}
    assert (sent.body, sent.content_type) == (b"no json", "text/plain")
    assert page.message_id


async def test_each_way_to_fail_says_why_and_the_next_message_goes(place: Place) -> None:
    """What a job gets wrong ends a channel at the broker, and nothing else."""
    await place.run(publishing("alerts", "full"))

    reasons = [
        (await place.run(publishing(exchange, key))).reason or ""
        for exchange, key in (("alerts", "nobody"), ("alerts", "full"), ("nowhere", "x"), ("scheduler.offers", "x"))
    ]
    good = await place.run(publishing("alerts", "ops.page"))

    unroutable, full, missing, ours = reasons
    assert "no queue takes 'nobody' from alerts" == unroutable
    assert "the broker refused it: a queue that alerts leads to is full" == full
    assert "no exchange 'nowhere'" in missing
    assert "jobs may not publish to scheduler.offers" in ours
    assert Outcome.SUCCEEDED is good.outcome


async def test_a_broker_that_is_away_fails_the_attempt(tmp_path: Path) -> None:
    async with sending(tmp_path, AmqpSender(f"amqp://guest:guest@127.0.0.1:{free_port()}/")) as place:
        ended = await place.run(publishing("alerts", "ops.page"))

    assert Outcome.FAILED is ended.outcome
    assert "guest:" not in (ended.reason or "")
    assert "broker amqp://127.0.0.1" in (ended.reason or "")


async def test_a_broker_that_does_not_answer_is_left_when_the_time_is_over_or_somebody_asks(tmp_path: Path) -> None:
    silent = socket.create_server(("127.0.0.1", 0))  # connected by its backlog, and never heard
    port = silent.getsockname()[1]
    stop = StopRequest()
    stop.request("not needed")
    async with sending(tmp_path, AmqpSender(f"amqp://guest:guest@127.0.0.1:{port}/")) as place:
        late = await place.run(publishing("alerts", "x", hard_s=0.2))
        stopped = await place.run(publishing("alerts", "x"), stop)
    silent.close()

    assert Outcome.TIMED_OUT is late.outcome
    assert (Outcome.CANCELLED, "not needed") == (stopped.outcome, stopped.reason)


async def test_in_one_process_there_are_events_only(tmp_path: Path) -> None:
    broker = MemoryBroker()
    broker.declare(OURS)
    transport = MemoryTransport(broker, SystemClock(), random.Random(1))
    await transport.start()
    async with sending(tmp_path, MemorySender(transport)) as place:
        event = await place.run(publishing("scheduler.events", "default.orders", json_body={"a": 1}))
        other = await place.run(publishing("alerts", "ops.page"))
        nobody = await place.run(publishing("scheduler.events", "default"))
    await transport.close()

    assert Outcome.SUCCEEDED is event.outcome
    assert b'{"a": 1}' == broker.queues["events"].ready[0].out.body
    assert "the broker in this process has no exchange alerts: set AMQP_URL" == other.reason
    assert Outcome.FAILED is nobody.outcome
