"""The broker itself fails: killed, restarted, in alarm. On a private node; one start for the module."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, suppress

import pytest

from scheduler.errors import SessionLostError
from scheduler.ports import LinkState, Out, PublishOutcome, Transport
from scheduler.transport import amqp_admin
from scheduler.transport.topology import UNROUTABLE, Binding, Exchange, Queue, Topology, topology
from tests.support.services import SESSION_PIDS, Estate
from tests.support.services_rabbit import RabbitNode
from tests.support.transports import DEADLINE_S, AmqpRig, bodies, eventually, publish, take

STORED, UNKNOWN = PublishOutcome.STORED, PublishOutcome.UNKNOWN
OURS = topology({}) + Topology(
    (Exchange("t.direct", "direct", alternate=UNROUTABLE),), (Queue("work"),), (Binding("t.direct", "work", "work"),)
)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def node(estate: Estate) -> Iterator[RabbitNode]:
    node = RabbitNode(estate, "faults")
    node.start()
    SESSION_PIDS.update(node.pids)
    node.wait_ready()
    yield node
    node.close()


@pytest.fixture
async def rig(node: RabbitNode) -> AsyncIterator[AmqpRig]:
    async with AsyncExitStack() as stack:
        # A quorum queue that is killed within seconds of its declaration answers nobody after that.
        made = AmqpRig(stack, node.amqp_url, queue_type="classic")
        await made.declare(OURS)
        yield made
    await amqp_admin.wipe(node.amqp_url, OURS)


def again(node: RabbitNode) -> None:
    node.start()
    SESSION_PIDS.update(node.pids)
    node.wait_ready()


async def state_is(transport: Transport, wanted: LinkState) -> None:
    async with asyncio.timeout(DEADLINE_S):
        async for state in transport.watch():
            if state is wanted:
                return


async def test_what_was_confirmed_outlives_a_kill_of_the_broker(rig: AmqpRig, node: RabbitNode) -> None:
    transport = await rig.transport()
    publisher = await transport.publisher("test")
    consumer = await transport.consumer("work", credit=5, name="test")
    outcomes = []
    for number in range(2000):
        outcomes.append(publisher.publish(Out("t.direct", "work", str(number).encode())))
        if number % 200 == 0:
            await outcomes[-1]
    held = await take(consumer, 5)

    await asyncio.to_thread(node.kill9)
    told = await asyncio.wait_for(asyncio.gather(*outcomes), DEADLINE_S)
    during = publisher.publish(Out("t.direct", "work", b"during"))
    await asyncio.to_thread(again, node)
    await transport.wait_up(30)
    with pytest.raises(SessionLostError):
        await take(consumer, 1)
    await consumer.ack(held)
    await consumer.set_credit(5000)
    confirmed = {str(number).encode() for number, outcome in enumerate(told) if outcome is STORED}
    if await during is STORED:
        confirmed.add(b"during")
    found: set[bytes] = set()
    async with asyncio.timeout(30):
        while not confirmed <= found:
            with suppress(SessionLostError):  # a node that just came up may drop the first session again
                found.update(bodies(await consumer.take(500)))

    assert set(told) <= {STORED, UNKNOWN}
    assert len(confirmed) > 1000, "the kill came in the middle of the load"


async def test_an_orderly_restart_is_one_lost_session(rig: AmqpRig, node: RabbitNode) -> None:
    transport = await rig.transport()
    consumer = await transport.consumer("work", credit=5, name="test")
    await publish(transport, Out("t.direct", "work", b"kept"))
    await take(consumer, 1)

    await asyncio.to_thread(node.stop)
    await asyncio.to_thread(again, node)

    with pytest.raises(SessionLostError):
        await take(consumer, 1)
    await transport.wait_up(30)
    (kept,) = await take(consumer, 1)
    assert (kept.body, kept.redelivered) == (b"kept", True)


async def test_a_memory_alarm_blocks_publishes_and_loses_nothing(rig: AmqpRig, node: RabbitNode) -> None:
    transport = await rig.transport()
    consumer = await transport.consumer("work", credit=50, name="test")
    publisher = await transport.publisher("test")
    await publish(transport, *[Out("t.direct", "work", b"before")] * 20)

    await asyncio.to_thread(node.ctl, "set_vm_memory_high_watermark", "0.0001")
    outcomes = [publisher.publish(Out("t.direct", "work", f"during {n}".encode())) for n in range(20)]
    await state_is(transport, LinkState.BLOCKED)
    blocked_since = transport.up_since
    outcomes += [publisher.publish(Out("t.direct", "work", f"late {n}".encode())) for n in range(20)]
    await consumer.ack(await take(consumer, 20))
    await eventually(lambda: transport.depth("work"), (0, 1))
    undecided = [outcome for outcome in outcomes if not outcome.done()]
    await asyncio.to_thread(node.ctl, "set_vm_memory_high_watermark", "0.4")

    told = await asyncio.wait_for(asyncio.gather(*outcomes), DEADLINE_S)
    assert undecided
    assert blocked_since is None
    assert set(told) == {STORED}
    assert len(await take(consumer, 40)) == 40
    await state_is(transport, LinkState.UP)
    assert transport.up_since is not None


async def test_quorum_queues_keep_what_was_confirmed_too(rig: AmqpRig, node: RabbitNode) -> None:
    quorum = Topology((), (Queue("steady"),), (Binding("t.direct", "steady", "steady"),))
    async with amqp_admin.admin(node.amqp_url, queue_type="quorum") as operator:
        await operator.declare(quorum)
    transport = await rig.transport()
    await publish(transport, *[Out("t.direct", "steady", str(n).encode()) for n in range(50)])
    await asyncio.sleep(1)  # 3.10 loses a quorum queue that is killed within half a second of its declaration

    await asyncio.to_thread(node.kill9)
    await asyncio.to_thread(again, node)
    await transport.wait_up(30)

    consumer = await transport.consumer("steady", credit=100, name="test")
    taken = await take(consumer, 50)
    assert {delivery.body for delivery in taken} == {str(n).encode() for n in range(50)}
    await amqp_admin.wipe(node.amqp_url, quorum)
