"""What every transport promises; one suite over all of them. The numbers are only for reference.

Here: settling, pausing and lost sessions. The rest is in test_transport.py.
"""

import asyncio

import pytest

from scheduler.errors import BrokerUnavailableError, SessionLostError
from scheduler.ports import LinkState, Out, PublishOutcome
from scheduler.transport.canary import CANARY_TIMEOUT_S
from scheduler.transport.topology import CANARY, CONTROL, DEAD_LETTERS, Exchange, Topology
from tests.support.transports import (
    CONTRACT,
    DEADLINE_S,
    Rig,
    bodies,
    eventually,
    first_after_losses,
    publish,
    ready,
    take,
    work,
)

STORED, REFUSED, UNKNOWN = PublishOutcome.STORED, PublishOutcome.REFUSED, PublishOutcome.UNKNOWN


async def test_11_an_ack_during_a_pause_is_valid(rig: Rig) -> None:
    transport = await rig.transport()
    consumer = await transport.consumer("work", credit=2, name="test")
    await publish(transport, *work("a", "b"))
    held = await take(consumer, 2)

    await consumer.set_credit(0)
    await consumer.ack(held)
    await consumer.close()

    await eventually(lambda: transport.depth("work"), (0, 0))


async def test_11b_a_consumer_of_a_deleted_queue_is_told_and_goes_on_when_it_is_back(rig: Rig) -> None:
    transport = await rig.transport()
    consumer = await transport.consumer("work", credit=2, name="test")
    taking = asyncio.create_task(consumer.take(1))
    await eventually(lambda: transport.depth("work"), (0, 1))

    await rig.delete_queue("work")

    with pytest.raises(SessionLostError, match="work"):
        await asyncio.wait_for(taking, DEADLINE_S)
    await rig.declare(CONTRACT)
    await transport.wait_up(DEADLINE_S)
    await publish(transport, *work("a"))
    assert bodies(await take(consumer, 1)) == [b"a"]


async def test_a_canary_goes_through_a_queue_and_back_whoever_else_sends_one(rig: Rig) -> None:
    senders = [await rig.transport() for _ in range(3)]

    times = await asyncio.gather(*(transport.send_canary() for transport in senders * 4))

    assert all(0 <= seconds < CANARY_TIMEOUT_S for seconds in times)
    await eventually(lambda: senders[0].depth(CANARY), (0, 0))


async def test_a_canary_without_its_queue_says_so_and_harms_nobody(rig: Rig) -> None:
    transport = await rig.transport()
    await rig.delete_queue(CANARY)

    with pytest.raises(BrokerUnavailableError, match=CANARY):
        await transport.send_canary()

    assert LinkState.UP is transport.state
    await rig.declare(CONTRACT)
    await transport.send_canary()


async def test_12_a_buried_message_keeps_its_reason_and_its_origin(rig: Rig) -> None:
    transport = await rig.transport()
    consumer = await transport.consumer("work", credit=2, name="test")
    graves = await transport.consumer(DEAD_LETTERS, credit=10, name="test")
    await publish(
        transport, Out("t.direct", "work", b"\xff", message_id="m-1", headers={"kept": "yes"}, content_type=None)
    )

    await consumer.bury(await take(consumer, 1), "no JSON: é" + "x" * 5000)

    (buried,) = await take(graves, 1)
    assert (buried.body, buried.message_id, buried.content_type, buried.key) == (b"\xff", "m-1", None, "work")
    assert buried.headers["x-reason"].startswith("no JSON: é")
    assert buried.headers["x-origin-queue"] == "work"
    assert buried.headers["kept"] == "yes"
    await consumer.close()
    await eventually(lambda: transport.depth("work"), (0, 0))


async def test_12b_a_message_that_cannot_be_buried_is_released(rig: Rig) -> None:
    transport = await rig.transport()
    consumer = await transport.consumer("work", credit=2, name="test")
    await publish(transport, *work("a"))
    taken = await take(consumer, 1)
    await rig.wipe(Topology((Exchange(DEAD_LETTERS, "fanout"),), (), ()))

    await consumer.bury(taken, "bad")

    await rig.declare(CONTRACT)
    assert (await first_after_losses(consumer)).redelivered


async def test_13_an_answer_to_an_executor_that_is_gone_is_dropped(rig: Rig) -> None:
    transport, executor = await rig.transport(), await rig.transport()
    answer = Out(CONTROL, "box-1", b"answer")

    queue = await executor.declare_control("box-1")
    control = await executor.consumer(queue, credit=10, name="test")
    await eventually(lambda: executor.depth(queue), (0, 1))
    assert await publish(transport, answer) == [STORED]
    (heard,) = await take(control, 1)
    await executor.close()
    assert await publish(transport, Out(CONTROL, "box-1", b"too late")) == [STORED]
    returned = await rig.transport()
    control = await returned.consumer(await returned.declare_control("box-1"), credit=10, name="test")
    await eventually(lambda: returned.depth(queue), (0, 1))
    await publish(transport, answer)

    assert queue == heard.queue == "scheduler.control.box-1"
    assert bodies([heard, *await take(control, 1)]) == [b"answer", b"answer"]


async def test_13b_a_control_queue_is_made_again_after_a_lost_session(rig: Rig) -> None:
    transport, executor = await rig.transport(), await rig.transport()
    control = await executor.consumer(await executor.declare_control("box-1"), credit=10, name="test")

    await rig.lose_connection(executor)
    with pytest.raises(SessionLostError):
        await take(control, 1)
    await executor.wait_up(DEADLINE_S)
    await publish(transport, Out(CONTROL, "box-1", b"answer"))

    assert bodies(await take(control, 1)) == [b"answer"]


async def test_14_what_a_closed_consumer_held_goes_to_another(rig: Rig) -> None:
    transport = await rig.transport()
    first = await transport.consumer("work", credit=10, name="first")
    await publish(transport, *work("a", "b", "c"))
    (a, _) = await take(first, 2)
    await first.ack([a])

    await first.close()

    second = await transport.consumer("work", credit=10, name="second")
    assert {delivery.body for delivery in await take(second, 2)} == {b"b", b"c"}
    assert await first.take(1) == []


async def test_14b_an_empty_broker_is_a_normal_case(rig: Rig) -> None:
    transport = await rig.transport()
    consumer = await transport.consumer("work", credit=10, name="test")
    await publish(transport, *work("lost with the broker"))
    await eventually(lambda: transport.depth("work"), (0, 1))

    await rig.wipe(CONTRACT)
    await rig.declare(CONTRACT)

    with pytest.raises(SessionLostError):
        await take(consumer, 1)
    await transport.wait_up(DEADLINE_S)
    await publish(transport, *work("new"))
    assert (await first_after_losses(consumer)).body == b"new"


async def test_15_consumers_with_free_credit_take_turns(rig: Rig) -> None:
    transport = await rig.transport()
    left = await transport.consumer("work", credit=100, name="left")
    right = await transport.consumer("work", credit=100, name="right")
    idle = await transport.consumer("work", credit=0, name="idle")
    await eventually(lambda: ready(transport, "work"), 0)

    await publish(transport, *work(*[str(number) for number in range(20)]))

    assert len(await take(left, 10)) == len(await take(right, 10)) == 10
    await idle.set_credit(1)
    await publish(transport, *work(*[str(number) for number in range(3)]))
    assert len(await take(idle, 1)) == 1


async def test_16_a_flood_waits_and_nothing_is_dropped(rig: Rig) -> None:
    transport = await rig.transport()
    consumer = await transport.consumer("work", credit=500, name="test")
    texts = [str(number) for number in range(3000)]
    taken: list[bytes] = []

    async def read() -> None:
        while len(taken) < len(texts):
            batch = await consumer.take(200)
            taken.extend(bodies(batch))
            await consumer.ack(batch)

    reading = asyncio.create_task(read())
    outcomes = await publish(transport, *work(*texts))
    await asyncio.wait_for(reading, DEADLINE_S)

    assert set(outcomes) == {STORED}
    assert taken == [text.encode() for text in texts]


async def test_a_lost_session_is_told_once_and_its_late_ack_settles_nothing(rig: Rig) -> None:
    transport = await rig.transport()
    consumer = await transport.consumer("work", credit=10, name="test")
    await publish(transport, *work("a", "b"))
    old = await take(consumer, 2)

    await rig.lose_connection(transport)
    with pytest.raises(SessionLostError):
        await take(consumer, 1)
    again = await take(consumer, 2)
    await consumer.ack(old)
    await consumer.release(old)

    assert {delivery.body for delivery in again} == {b"a", b"b"}
    await consumer.close()
    await eventually(lambda: transport.depth("work"), (2, 0))


async def test_a_publish_during_an_outage_waits_for_the_link(rig: Rig) -> None:
    transport = await rig.transport()
    publisher = await transport.publisher("test")
    seen: list[LinkState] = []

    async def watch() -> None:
        seen.extend([state async for state in transport.watch()])

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0)
    await rig.lose_connection(transport)
    outcome = publisher.publish(work("a")[0])
    told = await asyncio.wait_for(outcome, DEADLINE_S)
    await transport.close()
    await watching

    assert told in (STORED, UNKNOWN), "perhaps it was written to the dying connection"
    assert seen[:3] == [LinkState.UP, LinkState.DOWN, LinkState.UP]
    assert seen[-1] is LinkState.DOWN
    assert transport.up_since is None


async def test_a_publish_to_a_missing_exchange_is_unknown_and_harms_nobody_for_long(rig: Rig) -> None:
    transport = await rig.transport()
    publisher = await transport.publisher("test")

    lost = await asyncio.wait_for(publisher.publish(Out("no.such.exchange", "x", b"a")), DEADLINE_S)
    await transport.wait_up(DEADLINE_S)

    assert lost is UNKNOWN
    assert await asyncio.wait_for(publisher.publish(work("b")[0]), DEADLINE_S) is STORED


async def test_close_ends_a_waiting_take(rig: Rig) -> None:
    transport = await rig.transport()
    consumer = await transport.consumer("work", credit=10, name="test")
    waiting = asyncio.create_task(consumer.take(1))
    await asyncio.sleep(0)

    await transport.close()

    assert await asyncio.wait_for(waiting, DEADLINE_S) == []
    assert transport.state is LinkState.DOWN


async def test_a_close_that_was_cancelled_is_completed_by_the_next(rig: Rig) -> None:
    transport = await rig.transport()
    parts = [await transport.publisher("test"), await transport.consumer("work", credit=10, name="test")]

    for part in parts:
        closing = [asyncio.create_task(part.close()) for _ in range(2)]
        await asyncio.sleep(0)
        closing[0].cancel()
        await asyncio.wait(closing)
        await part.close()
        assert closing[1].exception() is None

    await eventually(lambda: transport.depth("work"), (0, 0))
