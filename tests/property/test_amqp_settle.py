"""Whatever is settled in whatever order, the broker settles exactly that."""

from types import SimpleNamespace

import pamqp.frame
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from scheduler.ports import Delivery, PublishOutcome
from scheduler.transport.amqp_consumer import AmqpConsumer
from scheduler.transport.amqp_wire import Wire

COUNT = 12
steps = st.lists(st.tuples(st.booleans(), st.sets(st.integers(1, COUNT))), max_size=8)


class BrokerSide(Wire):
    """Reads what is written as a broker does: which deliveries are acked, which given back."""

    def __init__(self) -> None:
        super().__init__(lambda _: None)
        self.unsettled = set(range(1, COUNT + 1))
        self.acked: set[int] = set()
        self.requeued: set[int] = set()

    def write(self, frames: bytes | bytearray) -> None:
        raw = bytes(frames)
        while raw:
            size, _, frame = pamqp.frame.unmarshal(raw)
            raw = raw[size:]
            named = (
                {tag for tag in self.unsettled if tag <= frame.delivery_tag} if frame.multiple else {frame.delivery_tag}
            )
            assert named <= self.unsettled, "an unknown tag closes the channel"
            assert named, "so does a multiple of nothing"
            (self.acked if isinstance(frame, commands.Basic.Ack) else self.requeued).update(named)
            self.unsettled -= named


async def never(_: object) -> PublishOutcome:
    raise AssertionError


def delivered(consumer: AmqpConsumer) -> dict[int, Delivery]:
    for tag in range(1, COUNT + 1):
        consumer.on_frame(commands.Basic.Deliver("c", tag, False, "x", "k"))
        consumer.on_frame(ContentHeader(0, 2, commands.Basic.Properties()))
        consumer.on_frame(ContentBody(b"ab"))
    return {delivery.token[1]: delivery for delivery in consumer._gathered}


@given(steps)
def test_the_broker_settles_what_was_settled_first_and_nothing_else(steps: list[tuple[bool, set[int]]]) -> None:
    consumer, broker = AmqpConsumer("q", COUNT, "test", never), BrokerSide()
    deliveries = delivered(consumer)
    consumer._wire, consumer._channel = broker, SimpleNamespace(number=1)
    acked: set[int] = set()
    requeued: set[int] = set()

    for is_ack, tags in steps:
        (acked if is_ack else requeued).update(tags - acked - requeued)
        settle = consumer.ack if is_ack else consumer.release
        try:
            settle([deliveries[tag] for tag in tags]).send(None)
        except StopIteration:
            continue

    assert (broker.acked, broker.requeued) == (acked, requeued)
    assert set(consumer._unsettled) == broker.unsettled
