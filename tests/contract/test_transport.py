"""What every transport promises; one suite over all of them. The numbers are only for reference."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from scheduler.errors import SessionLostError
from scheduler.ports import Consumer, Delivery, LinkState, Out, PublishOutcome, Transport
from scheduler.transport.topology import (
    CONTROL,
    DEAD_LETTERS,
    UNROUTABLE,
    Binding,
    Exchange,
    Limits,
    Queue,
    Topology,
    topology,
)
from tests.support.transports import (
    DEADLINE_S,
    AmqpRig,
    MemoryRig,
    Rig,
    bodies,
    eventually,
    publish,
    take,
)

STORED, REFUSED, UNKNOWN = PublishOutcome.STORED, PublishOutcome.REFUSED, PublishOutcome.UNKNOWN
LIMIT = 10
OURS = topology({}) + Topology(
    exchanges=(
        Exchange("t.direct", "direct", alternate=UNROUTABLE),
        Exchange("t.both", "fanout"),
        Exchange("t.topic", "topic"),
        Exchange("t.deaf", "direct"),
    ),
    queues=(
        Queue("work"),
        Queue("spare"),
        Queue("limited", Limits(max_length=LIMIT, overflow="reject-publish")),
        Queue("topical"),
    ),
    bindings=(
        Binding("t.direct", "work", "work"),
        Binding("t.direct", "limited", "limited"),
        Binding("t.both", "limited"),
        Binding("t.both", "spare"),
        Binding("t.topic", "topical", "a.#.z"),
        Binding("t.topic", "topical", "*.b"),
    ),
)


def work(*texts: str) -> list[Out]:
    return [Out("t.direct", "work", text.encode(), message_id=text) for text in texts]


@pytest.fixture(params=["memory", "amqp"])
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    async with AsyncExitStack() as stack:
        memory = request.param == "memory"
        made: Rig = MemoryRig(stack) if memory else AmqpRig(stack, request.getfixturevalue("amqp_url"))
        await made.declare(OURS)
        yield made


async def test_01_the_outcome_and_the_delivery_come_in_either_order(rig: Rig) -> None:
    """A publisher must not assume that its message is still unread when it hears STORED."""
    transport = await rig.transport()
    consumer = await transport.consumer("work", credit=10, name="test")

    taken, outcomes = await asyncio.gather(take(consumer, 2), publish(transport, *work("a", "b")))

    assert bodies(taken) == [b"a", b"b"]
    assert outcomes == [STORED, STORED]


async def test_02_a_body_crosses_as_bytes_whatever_is_in_it(rig: Rig) -> None:
    body = bytearray(b"\x00\xff\xfe{not json")
    transport = await rig.transport()
    publisher = await transport.publisher("test")
    consumer = await transport.consumer("work", credit=10, name="test")

    outcome = publisher.publish(
        Out("t.direct", "work", body, headers={"n": -7, "big": 2**40, "yes": True, "t": "é"}, content_type=None)
    )
    body[:] = b"changed after publishing"
    (bare,) = await take(consumer, 1)
    await publish(transport, Out("t.direct", "work", b"", message_id="m-1"))
    (named,) = await take(consumer, 1)

    assert await outcome is STORED
    assert (bare.body, bare.content_type, bare.message_id) == (b"\x00\xff\xfe{not json", None, None)
    assert dict(bare.headers) == {"n": -7, "big": 2**40, "yes": True, "t": "é"}
    assert (named.body, named.content_type, named.message_id) == (b"", "application/json", "m-1")
    assert (named.queue, named.exchange, named.key) == ("work", "t.direct", "work")


async def test_02b_a_body_of_many_frames_arrives_whole(rig: Rig) -> None:
    body = bytes(range(256)) * 4096
    transport = await rig.transport()
    consumer = await transport.consumer("work", credit=10, name="test")

    await publish(transport, Out("t.direct", "work", body), *work("small"), Out("t.direct", "work", body[:131_064]))

    assert bodies(await take(consumer, 3)) == [body, b"small", body[:131_064]]


async def test_03_a_consumer_never_runs_inside_a_publish(rig: Rig) -> None:
    transport = await rig.transport()
    publisher = await transport.publisher("test")
    consumer = await transport.consumer("work", credit=10, name="test")
    taking = asyncio.create_task(take(consumer, 1))
    await asyncio.sleep(0)

    outcome = publisher.publish(work("a")[0])

    assert not taking.done()
    assert not outcome.done()
    assert bodies(await taking) == [b"a"]
    assert await outcome is STORED


async def test_04_what_comes_again_is_marked_redelivered(rig: Rig) -> None:
    transport = await rig.transport()
    consumer = await transport.consumer("work", credit=10, name="test")
    await publish(transport, *work("a"))

    (first,) = await take(consumer, 1)
    await consumer.release([first])
    (released,) = await take(consumer, 1)
    await rig.lose_connection(transport)
    with pytest.raises(SessionLostError):
        await take(consumer, 1)
    (after_loss,) = await take(consumer, 1)
    await consumer.bury([after_loss], "unreadable")
    (buried,) = await take(await transport.consumer(DEAD_LETTERS, credit=1, name="test"), 1)

    assert [first.redelivered, released.redelivered, after_loss.redelivered] == [False, True, True]
    assert buried.redelivered is False


async def test_04b_what_was_delivered_but_not_taken_comes_again_after_a_pause(rig: Rig) -> None:
    transport = await rig.transport()
    consumer = await transport.consumer("work", credit=2, name="test")
    await publish(transport, *work("a", "b"))
    (held,) = await take(consumer, 1)

    await consumer.set_credit(0)
    await eventually(lambda: transport.depth("work"), (1, 0 if isinstance(rig, AmqpRig) else 1))
    await consumer.set_credit(2)
    (again,) = await take(consumer, 1)

    assert {held.body, again.body} == {b"a", b"b"}
    assert (held.redelivered, again.redelivered) == (False, True)


async def test_05_one_publisher_and_one_queue_keep_their_order(rig: Rig) -> None:
    transport = await rig.transport()
    consumer = await transport.consumer("work", credit=1000, name="test")
    texts = [str(number) for number in range(500)]

    await publish(transport, *work(*texts))

    assert bodies(await take(consumer, 500)) == [text.encode() for text in texts]


async def test_06_a_limit_counts_what_is_ready_and_never_refuses_a_release(rig: Rig) -> None:
    transport = await rig.transport()
    message = Out("t.direct", "limited", b"x")
    for _ in range(LIMIT):
        assert await publish(transport, message) == [STORED]
    consumer = await transport.consumer("limited", credit=5, name="test")
    held = await take(consumer, 5)

    outcomes = [(await publish(transport, message))[0] for _ in range(LIMIT)]
    await consumer.set_credit(0)
    await consumer.release(held)

    accepted = outcomes.count(STORED)
    assert 5 <= accepted <= 5 + 2, "quorum queues let one or two more in"
    assert REFUSED in outcomes
    await eventually(lambda: ready(transport, "limited"), LIMIT + accepted)


async def ready(transport: Transport, queue: str) -> int:
    return (await transport.depth(queue))[0]


async def test_07_credit_counts_the_unsettled_and_acks_come_in_any_order(rig: Rig) -> None:
    transport = await rig.transport()
    consumer = await transport.consumer("work", credit=3, name="test")
    await publish(transport, *work("a", "b", "c", "d", "e", "f"))
    a, b, c = await take(consumer, 3)
    await eventually(lambda: transport.depth("work"), (3, 1))

    await consumer.ack([b])
    (d,) = await take(consumer, 1)
    await consumer.ack([c, a, b])
    await consumer.ack([a])
    e, f = await take(consumer, 2)
    await consumer.ack([f, d, e])

    assert bodies([d, e, f]) == [b"d", b"e", b"f"]
    await consumer.close()
    await eventually(lambda: transport.depth("work"), (0, 0))
    assert transport.state is LinkState.UP


async def test_08_one_refusing_queue_refuses_though_the_other_has_it(rig: Rig) -> None:
    transport = await rig.transport()
    to_both = Out("t.both", "", b"x")

    outcomes = [(await publish(transport, to_both))[0] for _ in range(LIMIT + 3)]

    assert outcomes[:LIMIT] == [STORED] * LIMIT
    assert outcomes[-1] is REFUSED
    await eventually(lambda: ready(transport, "spare"), LIMIT + 3)


async def test_08b_what_no_binding_takes_goes_to_the_alternate_exchange(rig: Rig) -> None:
    transport = await rig.transport()
    lost_and_found = await transport.consumer(UNROUTABLE, credit=10, name="test")

    outcomes = await publish(transport, Out("t.direct", "nobody", b"a"), Out("t.deaf", "nobody", b"b"))

    (found,) = await take(lost_and_found, 1)
    assert outcomes == [STORED, STORED]
    assert (found.body, found.exchange, found.key) == (b"a", "t.direct", "nobody")


async def test_09_topic_bindings_match_as_rabbitmq_does(rig: Rig) -> None:
    transport = await rig.transport()
    consumer = await transport.consumer("topical", credit=100, name="test")
    taken_keys = ["a.z", "a.b.c.z", "a..z", "x.b", ".b"]
    others = ["", "a", "z", "a.b.c", "b", "a.b.c.z.y", "x.y.b"]

    await publish(transport, *[Out("t.topic", key, key.encode()) for key in (*others, *taken_keys, "a.b")])

    assert [delivery.key for delivery in await take(consumer, 6)] == [*taken_keys, "a.b"]


async def test_10_nothing_overtakes_within_a_queue(rig: Rig) -> None:
    """There is no priority on the wire; urgent work is ordered in the database."""
    first, second = await rig.transport(), await rig.transport()

    await publish(first, Out("t.direct", "work", b"early", headers={"priority": 0}))
    await publish(second, Out("t.direct", "work", b"late", headers={"priority": 9}))

    consumer = await first.consumer("work", credit=10, name="test")
    assert bodies(await take(consumer, 2)) == [b"early", b"late"]


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
    await rig.declare(OURS)
    await transport.wait_up(DEADLINE_S)
    await publish(transport, *work("a"))
    assert bodies(await take(consumer, 1)) == [b"a"]


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

    await rig.declare(OURS)
    assert (await first_after_losses(consumer)).redelivered


async def first_after_losses(consumer: Consumer) -> Delivery:
    while True:
        try:
            return (await take(consumer, 1))[0]
        except SessionLostError:
            continue


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

    await rig.wipe(OURS)
    await rig.declare(OURS)

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
