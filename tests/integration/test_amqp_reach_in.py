"""The points where we reach below aio-pika's documented surface; a new aiormq must keep them."""

import asyncio
import inspect
from importlib.metadata import version

import aio_pika
import aiormq
import pamqp.frame
import pytest
from aiormq.channel import Channel
from aiormq.connection import Connection, FrameReceiver, TransportFactory
from yarl import URL

from scheduler.clock import SystemClock
from scheduler.errors import SessionLostError
from scheduler.ports import Out
from scheduler.transport.amqp_consumer import AmqpConsumer
from scheduler.transport.amqp_publisher import AmqpPublisher
from scheduler.transport.amqp_reading import read_head
from scheduler.transport.amqp_wire import Wire, guarded


def test_the_version_is_the_one_these_points_were_read_in() -> None:
    assert version("aiormq") == "7.2.4"


async def test_the_stream_can_be_had_by_a_transport_factory() -> None:
    assert "transport_factory" in inspect.signature(Connection.__init__).parameters
    assert list(inspect.signature(TransportFactory.create).parameters) == ["self", "url", "kwargs"]
    connection = aio_pika.Connection(URL("amqp://localhost"))
    assert isinstance(connection.kwargs, dict)
    await connection.close()


@pytest.mark.parametrize("frame", ["blocked", "unblocked"])
def test_the_alarm_handlers_are_looked_up_on_the_instance(frame: str) -> None:
    assert inspect.iscoroutinefunction(getattr(Connection, f"_Connection__handle_connection_{frame}"))
    assert f"await self.__handle_connection_{frame}(frame)" in inspect.getsource(Connection._Connection__reader)


def test_frames_reach_a_channel_by_its_queue_and_by_nothing_else() -> None:
    assert "await ch.frames.put((weight, frame))" in inspect.getsource(Connection._Connection__reader)
    assert "await self.frames.get()" in inspect.getsource(Channel._get_frame)


def test_heads_of_messages_are_read_where_we_say() -> None:
    assert "_unmarshal_header_frame(frame_data)" in inspect.getsource(pamqp.frame.unmarshal)
    assert pamqp.frame._unmarshal_header_frame is read_head  # type: ignore[comparison-overlap]
    assert "pamqp.frame.unmarshal(" in inspect.getsource(FrameReceiver.get_frame)


async def test_deliveries_and_confirms_never_reach_aiormq(amqp_url: str) -> None:
    """Nothing of ours is left in aiormq's own books after traffic, and no task was made for it."""
    wire = Wire(lambda _: None)
    await wire.open(amqp_url, "reach-in")
    publisher = AmqpPublisher(SystemClock(), "guest")
    consumer = AmqpConsumer("q", 10, "reach-in", publisher.publish)
    channel = await wire.scratch_channel()
    await guarded(channel.queue_declare("q", exclusive=True))
    await guarded(channel.exchange_declare("x"))
    await guarded(channel.queue_bind("q", "x", "k"))
    await consumer.attach(wire, "q")
    await consumer.begin()
    await publisher.attach(wire)
    before = asyncio.all_tasks()

    await asyncio.gather(*[publisher.publish(Out("x", "k", b"a" * size)) for size in (0, 1, 200_000)])
    async with asyncio.timeout(10):
        taken = await consumer.take(1)
        taken += await consumer.take(2)

    assert asyncio.all_tasks() == before
    assert publisher._channel is not None
    assert publisher._channel.confirmations == {}
    assert publisher._channel.delivery_tag == 0
    await publisher.close()
    await consumer.close()
    await wire.close()
    assert len(taken) >= 2


async def test_a_cancellation_by_the_library_is_a_lost_session_and_ours_is_not() -> None:

    theirs = asyncio.get_running_loop().create_future()
    theirs.cancel()
    with pytest.raises(SessionLostError):
        await guarded(theirs)

    waiting = asyncio.create_task(guarded(asyncio.get_running_loop().create_future()))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_library_errors_are_told_in_one_line() -> None:

    async def fail() -> None:
        raise aiormq.exceptions.ChannelNotFoundEntity("NOT_FOUND - no queue 'q'\nmore")

    with pytest.raises(SessionLostError, match=r"^NOT_FOUND - no queue 'q'$"):
        await guarded(fail())
