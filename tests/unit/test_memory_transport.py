"""What only the in-process broker can show: seeds, held confirms, alarms, restarts, time."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import pytest

from scheduler.clock import SystemClock, VirtualClock
from scheduler.errors import BrokerUnavailableError, ConfigurationError, NotFoundError
from scheduler.ports import LinkState, Out, PublishOutcome
from scheduler.transport.amqp import AmqpTransport
from scheduler.transport.memory import MemoryBroker, MemoryTransport
from scheduler.transport.open import open_transport
from scheduler.transport.topology import Binding, Exchange, Limits, Queue, Topology
from tests.support.transports import MemoryRig, bodies, publish, take

STORED, REFUSED, UNKNOWN = PublishOutcome.STORED, PublishOutcome.REFUSED, PublishOutcome.UNKNOWN
SMALL = Topology(
    (Exchange("x", "direct"),),
    (
        Queue("q"),
        Queue("short", Limits(max_length=2)),
        Queue("light", Limits(max_length_bytes=10)),
        Queue("fused", Limits(max_length=2, overflow="reject-publish")),
    ),
    tuple(Binding("x", name, name) for name in ("q", "short", "light", "fused")),
)


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def rig(stack: AsyncExitStack) -> MemoryRig:
    rig = MemoryRig(stack)
    await rig.declare(SMALL)
    return rig


async def test_by_its_seed_the_outcome_comes_before_or_after_the_delivery(stack: AsyncExitStack) -> None:
    first: set[str] = set()
    for seed in range(8):
        rig = MemoryRig(stack, seed=seed)
        await rig.declare(SMALL)
        transport = await rig.transport()
        consumer = await transport.consumer("q", credit=1, name="test")
        order: list[str] = []
        taking = asyncio.create_task(consumer.take(1))
        taking.add_done_callback(lambda _, order=order: order.append("delivery"))
        await asyncio.sleep(0)
        outcome = (await transport.publisher("test")).publish(Out("x", "q", b"a"))
        outcome.add_done_callback(lambda _, order=order: order.append("outcome"))
        await asyncio.wait([taking, outcome])
        await asyncio.sleep(0)
        first.add(order[0])

    assert first == {"delivery", "outcome"}


async def test_a_confirm_held_back_becomes_unknown_when_the_session_is_lost(rig: MemoryRig) -> None:
    transport = await rig.transport()
    publisher = await transport.publisher("test")

    rig.broker.hold_confirms()
    outcome = publisher.publish(Out("x", "q", b"a"))
    while await transport.depth("q") != (1, 0):
        await asyncio.sleep(0)
    transport.lose_connection()
    rig.broker.let_confirms_go()

    assert await outcome is UNKNOWN


async def test_an_alarm_blocks_publishes_and_lets_deliveries_through(rig: MemoryRig) -> None:
    transport = await rig.transport()
    consumer = await transport.consumer("q", credit=1, name="test")
    publisher = await transport.publisher("test")
    await publish(transport, Out("x", "q", b"before"))

    rig.broker.block()
    outcome = publisher.publish(Out("x", "q", b"during"))
    (before,) = await take(consumer, 1)
    blocked, since = transport.state, transport.up_since
    rig.broker.unblock()
    await consumer.ack([before])

    assert (blocked, since) == (LinkState.BLOCKED, None)
    assert await outcome is STORED
    assert bodies(await take(consumer, 1)) == [b"during"]
    assert transport.up_since is not None


async def test_a_restart_forgets_what_is_transient_and_marks_the_rest(rig: MemoryRig) -> None:
    transport = await rig.transport()
    await publish(transport, Out("x", "q", b"kept"), Out("x", "q", b"gone", persistent=False))

    rig.broker.restart()
    await transport.wait_up(1)

    consumer = await transport.consumer("q", credit=10, name="test")
    (kept,) = await take(consumer, 1)
    assert (kept.body, kept.redelivered) == (b"kept", True)
    assert await transport.depth("q") == (0, 1)


async def test_the_oldest_go_at_a_limit_that_drops(rig: MemoryRig) -> None:
    transport = await rig.transport()

    await publish(transport, *[Out("x", "short", body) for body in (b"1", b"2", b"3")])
    await publish(transport, *[Out("x", "light", body * 6) for body in (b"1", b"2")])

    short = await transport.consumer("short", credit=10, name="test")
    light = await transport.consumer("light", credit=10, name="test")
    assert bodies(await take(short, 2)) == [b"2", b"3"]
    assert bodies(await take(light, 1)) == [b"2" * 6]


async def test_a_sloppy_broker_overshoots_its_limits(stack: AsyncExitStack) -> None:
    rig = MemoryRig(stack, overshoot=3)
    await rig.declare(SMALL)
    transport = await rig.transport()

    outcomes = [(await publish(transport, Out("x", "fused", b"a")))[0] for _ in range(6)]

    assert outcomes == [STORED] * 5 + [REFUSED]


async def test_a_publish_gives_up_after_its_timeout(stack: AsyncExitStack) -> None:
    clock, broker = VirtualClock(datetime(2026, 3, 1, tzinfo=UTC)), MemoryBroker()
    broker.declare(SMALL)
    transport = MemoryTransport(broker, clock, random.Random(1))
    stack.push_async_callback(transport.close)
    publisher = await transport.publisher("test")

    outcome = publisher.publish(Out("x", "q", b"a"))
    while not clock.sleepers:
        await asyncio.sleep(0)
    await clock.advance(timedelta(seconds=9))
    early = outcome.done()
    await clock.advance(timedelta(seconds=2))
    await transport.start()

    assert not early
    assert await outcome is UNKNOWN
    assert await transport.depth("q") == (0, 0)


async def test_a_link_that_stays_away_says_why(rig: MemoryRig) -> None:
    transport = await rig.transport()

    transport.lose_connection("cable pulled", stay_away=True)

    with pytest.raises(BrokerUnavailableError, match=r"memory://.*cable pulled"):
        await transport.wait_up(0.01)
    with pytest.raises(BrokerUnavailableError, match="cable pulled"):
        await transport.depth("q")
    transport.restore_connection()
    await transport.wait_up(1)
    with pytest.raises(NotFoundError, match="no queue nix"):
        await transport.depth("nix")


async def test_a_missing_queue_keeps_the_link_down_until_it_is_declared(rig: MemoryRig) -> None:
    transport = await rig.transport()

    await transport.consumer("later", credit=1, name="test")
    await asyncio.sleep(0)
    down = transport.state
    await rig.declare(Topology((), (Queue("later"),), ()))

    assert down is LinkState.DOWN
    assert transport.state is LinkState.UP


def test_a_url_opens_the_transport_it_names() -> None:
    rng, clock = random.Random(1), SystemClock()

    opened = open_transport("memory://", actor="test", clock=clock, rng=rng, broker=MemoryBroker())

    assert isinstance(opened, MemoryTransport)
    assert isinstance(open_transport("amqp://localhost", actor="test", clock=clock, rng=rng), AmqpTransport)
    with pytest.raises(ConfigurationError, match="one process"):
        open_transport("memory://", actor="test", clock=clock, rng=rng)
    with pytest.raises(ConfigurationError, match="scheme"):
        open_transport("redis://localhost", actor="test", clock=clock, rng=rng)
