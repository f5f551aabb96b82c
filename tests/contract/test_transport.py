"""What every transport promises; one suite over all of them. The numbers are only for reference.

Here: how messages get from a publisher to a consumer. The rest is in test_transport_sessions.py.
"""

import asyncio

import pytest

from scheduler.errors import SessionLostError
from scheduler.ports import LinkState, Out, PublishOutcome
from scheduler.transport.topology import DEAD_LETTERS, UNROUTABLE
from tests.support.transports import (
    LIMIT,
    Rig,
    bodies,
    eventually,
    publish,
    ready,
    take,
    work,
)

STORED, REFUSED, UNKNOWN = PublishOutcome.STORED, PublishOutcome.REFUSED, PublishOutcome.UNKNOWN
RETURNED = PublishOutcome.UNROUTABLE


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


async def test_02c_a_mandatory_message_that_no_queue_takes_comes_back(rig: Rig) -> None:
    """Also with bodies of many frames and of none, between others; an alternate exchange takes what it takes."""
    transport = await rig.transport()
    consumer = await transport.consumer("work", credit=10, name="test")
    sent = [
        Out("t.deaf", "x", b"lost", message_id="1"),
        Out("t.deaf", "x", b"back", message_id="2", mandatory=True),
        Out("t.direct", "work", b"a", message_id="3", mandatory=True),
        Out("t.topic", "nobody", bytes(300_000), message_id="4", mandatory=True),
        Out("t.topic", "nobody", b"", message_id="5", mandatory=True),
        Out("t.direct", "work", b"b", message_id="6", mandatory=True),
        Out("t.direct", "nobody", b"", message_id="7", mandatory=True),
    ]

    outcomes = await publish(transport, *sent)

    assert outcomes == [STORED, RETURNED, STORED, RETURNED, RETURNED, STORED, STORED]
    assert bodies(await take(consumer, 2)) == [b"a", b"b"]


async def test_02d_a_message_goes_by_the_keys_of_its_bcc_as_well(rig: Rig) -> None:
    """Once to each queue; the header is not delivered. Nobody there for any of the keys: it comes back."""
    transport = await rig.transport()
    consumer = await transport.consumer("topical", credit=10, name="test")
    many = [f"x.y.{number}" for number in range(600)]

    outcomes = await publish(
        transport,
        Out("t.topic", "x", b"back", "1", {"BCC": many}, mandatory=True),
        Out("t.topic", "x", b"once", "2", {"BCC": [*many, "a.z", "c.b"], "n": 1}, mandatory=True),
    )
    (taken,) = await take(consumer, 1)

    assert outcomes == [RETURNED, STORED]
    assert (taken.body, taken.key, dict(taken.headers)) == (b"once", "x", {"n": 1})
    assert 0 == await ready(transport, "topical")


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


async def test_04a_what_comes_again_says_what_it_said_before(rig: Rig) -> None:
    """Its content may be all by which it is known."""
    transport = await rig.transport()
    consumer = await transport.consumer("work", credit=10, name="test")
    await publish(transport, Out("t.direct", "work", b"a", headers={"n": 1}), *work("b"))

    for _ in range(3):
        taken = await take(consumer, 2)
        assert [{"n": 1}, {}] == [dict(delivery.headers) for delivery in taken]
        await consumer.release(taken)


async def test_04b_what_was_delivered_but_not_taken_comes_again_after_a_pause(rig: Rig) -> None:
    transport = await rig.transport()
    consumer = await transport.consumer("work", credit=2, name="test")
    await publish(transport, *work("a", "b"))
    (held,) = await take(consumer, 1)

    await consumer.set_credit(0)
    await eventually(lambda: ready(transport, "work"), 1)
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
