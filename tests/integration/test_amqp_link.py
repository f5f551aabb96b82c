"""The link under faults of the network and of operators; the broker itself stays alive."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from urllib.parse import urlsplit, urlunsplit

import pytest

from scheduler.errors import BrokerUnavailableError, SessionLostError
from scheduler.ports import LinkState, Out, PublishOutcome
from scheduler.transport import amqp_frames, amqp_publisher
from scheduler.transport.topology import CONTROL, UNROUTABLE, Binding, Exchange, Queue, Topology, topology
from tests.conftest import GivenBroker
from tests.support.proxy import Mode
from tests.support.services_rabbit import RabbitNode
from tests.support.transports import (
    DEADLINE_S,
    AmqpRig,
    bodies,
    eventually,
    patience_with_canaries,
    publish,
    ready,
    take,
)

STORED, REFUSED, UNKNOWN = PublishOutcome.STORED, PublishOutcome.REFUSED, PublishOutcome.UNKNOWN
OURS = topology({"default": 100}) + Topology(
    (Exchange("t.direct", "direct", alternate=UNROUTABLE),), (Queue("work"),), (Binding("t.direct", "work", "work"),)
)
Broker = RabbitNode | GivenBroker


def work(*texts: str) -> list[Out]:
    return [Out("t.direct", "work", text.encode(), message_id=text) for text in texts]


@pytest.fixture
async def rig(amqp_url: str) -> AsyncIterator[AmqpRig]:
    async with AsyncExitStack() as stack:
        made = AmqpRig(stack, amqp_url)
        await made.declare(OURS)
        yield made


async def state_is(transport, wanted: LinkState) -> None:
    async with asyncio.timeout(30):
        async for state in transport.watch():
            if state is wanted:
                return


async def test_a_refusing_network_leaves_the_link_down_with_a_reason(rig: AmqpRig, caplog) -> None:
    transport = await rig.transport()
    rig.proxy(transport).mode = Mode.REFUSE
    await rig.lose_connection(transport)

    with pytest.raises(BrokerUnavailableError, match=r"is not reachable: .+"):
        await transport.wait_up(0.5)
    with pytest.raises(BrokerUnavailableError):
        await transport.depth("work")
    rig.proxy(transport).mode = Mode.PASS

    await transport.wait_up(DEADLINE_S)
    assert [record.name for record in caplog.records if record.name.startswith("aio")] == []


async def test_a_channel_closed_by_the_broker_is_told_and_mended(rig: AmqpRig) -> None:
    """As after the broker's own limit for unsettled deliveries, with the connection alive."""
    transport = await rig.transport()
    consumer = await transport.consumer("work", credit=10, name="test")
    await publish(transport, *work("a"))
    await take(consumer, 1)

    consumer._wire.write(amqp_frames.ack(999, consumer._channel.number, multiple=False))

    with pytest.raises(SessionLostError, match="PRECONDITION_FAILED - unknown delivery tag 999"):
        await take(consumer, 1)
    assert bodies(await take(consumer, 1)) == [b"a"]


async def test_an_executor_works_with_the_rights_it_needs_and_no_others(rig: AmqpRig, rabbit: Broker) -> None:
    call, vhost = rabbit.management.call, urlsplit(rig.url).path[1:]
    own = r"scheduler\.control\.box(\..+)?"
    await asyncio.to_thread(call, "PUT", f"users/{vhost}", {"password": "pw", "tags": ""})
    rights = {
        "configure": f"^{own}$",
        "write": rf"^({own}|scheduler\.(attempts|dead-letters|canary))$",
        "read": rf"^({own}|scheduler\.(control|executor\.default|canary))$",
    }
    await asyncio.to_thread(call, "PUT", f"permissions/{vhost}/{vhost}", rights)
    operator = await rig.transport()
    parts = urlsplit(rig.url)
    rig.url = urlunsplit(parts._replace(netloc=f"{vhost}:pw@{parts.hostname}:{parts.port}"))

    executor = await rig.transport()
    control = await executor.consumer(await executor.declare_control("box"), credit=1, name="test")
    offers = await executor.consumer("scheduler.executor.default", credit=1, name="test")
    await publish(operator, Out("scheduler.offers", "default", b"offer"), Out(CONTROL, "box", b"answer"))
    claimed = await publish(executor, Out("scheduler.attempts", "attempt.claim", b"claim"))
    (offer,) = await take(offers, 1)
    (answer,) = await take(control, 1)
    claims = await operator.consumer("scheduler.recorder.claims", credit=1, name="test")
    (claim,) = await take(claims, 1)
    with patience_with_canaries():
        await executor.send_canary()
    forbidden = await publish(executor, Out("scheduler.offers", "default", b"forged"))
    await asyncio.to_thread(call, "DELETE", f"users/{vhost}")

    assert (claimed, forbidden) == ([STORED], [UNKNOWN])
    assert bodies([offer, answer, claim]) == [b"offer", b"answer", b"claim"]
    assert claim.sender == vhost


async def test_a_confirm_lost_on_the_way_is_unknown_and_the_message_is_there(rig: AmqpRig) -> None:
    transport = await rig.transport()
    publisher = await transport.publisher("test")
    other = await rig.transport()

    rig.proxy(transport).mode = Mode.BLACKHOLE_DOWN
    outcomes = [publisher.publish(message) for message in work("a", "b")]
    await eventually(lambda: other.depth("work"), (2, 0))
    await rig.lose_connection(transport)
    told = await asyncio.wait_for(asyncio.gather(*outcomes), DEADLINE_S)
    rig.proxy(transport).mode = Mode.PASS

    assert told == [UNKNOWN, UNKNOWN]
    await transport.wait_up(DEADLINE_S)
    assert await asyncio.wait_for(publisher.publish(work("c")[0]), DEADLINE_S) is STORED


async def test_a_half_open_connection_is_found_and_its_messages_come_again(rig: AmqpRig) -> None:
    rig.query = "heartbeat=1"  # seconds, so that a silent connection is found within six
    transport = await rig.transport()
    rig.query = ""
    consumer = await transport.consumer("work", credit=10, name="test")
    publisher = await transport.publisher("test")
    control = await transport.consumer(await transport.declare_control("box"), credit=1, name="test")
    await publish(transport, *work("a"))
    held = await take(consumer, 1)

    rig.proxy(transport).mode = Mode.BLACKHOLE
    outcome = publisher.publish(work("b")[0])
    await state_is(transport, LinkState.DOWN)
    told = await asyncio.wait_for(outcome, DEADLINE_S)
    rig.proxy(transport).mode = Mode.PASS

    await transport.wait_up(30)
    for each in (consumer, control):
        with pytest.raises(SessionLostError):
            await take(each, 1)
    await consumer.ack(held)
    assert told is UNKNOWN
    again = {delivery.body for delivery in await take(consumer, 1)}
    assert again <= {b"a", b"b"}
    other = await rig.transport()
    await publish(other, Out(CONTROL, "box", b"answer"))
    assert bodies(await take(control, 1)) == [b"answer"]


async def test_a_canary_that_does_not_come_back_is_told_in_time(rig: AmqpRig) -> None:
    transport = await rig.transport()
    with patience_with_canaries():
        await transport.send_canary()

    rig.proxy(transport).mode = Mode.BLACKHOLE
    with pytest.raises(BrokerUnavailableError, match=r"nothing came back through it within 1\.5 s"):
        await asyncio.wait_for(transport.send_canary(), 3)

    assert LinkState.UP is transport.state
    rig.proxy(transport).mode = Mode.PASS


async def test_a_slow_network_changes_nothing_but_the_time(rig: AmqpRig) -> None:
    transport = await rig.transport()
    rig.proxy(transport).latency_s = 0.05
    consumer = await transport.consumer("work", credit=10, name="test")

    outcomes = await publish(transport, *work(*"abcdefgh"))

    assert set(outcomes) == {STORED}
    assert b"".join(bodies(await take(consumer, 8))) == b"abcdefgh"


async def test_a_publish_in_a_silent_network_is_unknown_in_time(rig: AmqpRig, monkeypatch) -> None:
    transport = await rig.transport()
    publisher = await transport.publisher("test")

    rig.proxy(transport).mode = Mode.BLACKHOLE_UP
    with monkeypatch.context() as hurried:
        hurried.setattr(amqp_publisher, "PUBLISH_TIMEOUT_S", 0.3)
        outcome = await asyncio.wait_for(publisher.publish(work("a")[0]), 3)
    rig.proxy(transport).mode = Mode.PASS
    later = await asyncio.wait_for(publisher.publish(work("b")[0]), DEADLINE_S)

    assert (outcome, later) == (UNKNOWN, STORED)


async def test_a_bad_publish_makes_all_in_flight_unknown_and_the_next_session_works(rig: AmqpRig) -> None:
    transport = await rig.transport()
    publisher = await transport.publisher("test")

    outcomes = [publisher.publish(message) for message in (*work("a"), Out("nowhere", "k", b""), *work("b"))]
    told = await asyncio.wait_for(asyncio.gather(*outcomes), DEADLINE_S)

    assert told[1] is UNKNOWN
    assert set(told) <= {STORED, UNKNOWN}
    assert await asyncio.wait_for(publisher.publish(work("c")[0]), DEADLINE_S) is STORED


async def test_connections_carry_the_actors_name(rig: AmqpRig, rabbit: Broker) -> None:
    await rig.transport(actor="dispatcher")

    async def names() -> set[str]:
        rows = await asyncio.to_thread(rabbit.management.call, "GET", "connections")
        shown = [row.get("client_properties", {}).get("connection_name", "") for row in rows]
        return {name.split("@")[0] + "#" + name.rpartition("#")[2] for name in shown if "dispatcher@" in name}

    await eventually(names, {"scheduler/dispatcher#1", "scheduler/dispatcher#2"})


async def test_a_link_to_a_broker_without_our_queues_says_which_is_missing(rig: AmqpRig) -> None:
    transport = await rig.transport()
    consumer = await transport.consumer("undeclared", credit=1, name="test")

    with pytest.raises(BrokerUnavailableError, match="no queue 'undeclared'"):
        await transport.wait_up(0.3)
    await rig.declare(Topology((), (Queue("undeclared"),), (Binding("t.direct", "undeclared", "late"),)))
    await transport.wait_up(DEADLINE_S)
    await publish(transport, Out("t.direct", "late", b"a"))

    assert bodies(await take(consumer, 1)) == [b"a"]


async def test_credit_follows_what_is_in_hand_through_changes(rig: AmqpRig) -> None:
    transport = await rig.transport()
    consumer = await transport.consumer("work", credit=4, name="test")
    await publish(transport, *work(*"abcdefghij"))
    first = await take(consumer, 4)

    await consumer.set_credit(2)
    await eventually(lambda: ready(transport, "work"), 6)
    await consumer.ack(first[:3])
    await eventually(lambda: ready(transport, "work"), 5)
    await consumer.ack(first[3:])
    await eventually(lambda: ready(transport, "work"), 4)
    await consumer.set_credit(100)

    assert b"".join(bodies(await take(consumer, 6))) == b"efghij"


async def test_a_foreign_session_with_the_same_executor_name_keeps_us_no_longer_out(rig: AmqpRig) -> None:
    """What a silent connection leaves behind: its exclusive queue is locked until the broker notices."""
    old, new = await rig.transport(), await rig.transport()
    left = await old.consumer(await old.declare_control("box"), credit=10, name="test")

    queue = await new.declare_control("box")
    control = await new.consumer(queue, credit=10, name="test")
    await publish(new, Out(CONTROL, "box", b"answer"))

    assert queue == "scheduler.control.box"
    (heard,) = await take(control, 1)
    assert (heard.body, heard.queue) == (b"answer", queue)
    assert bodies(await take(left, 1)) == [b"answer"]
    assert (await new.depth(queue))[1] == 1
