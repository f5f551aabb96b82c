"""One AMQP connection, and the few points where we reach below what aio-pika documents.

Reached into, and held by tests/integration/test_amqp_reach_in.py (aiormq is pinned for them):

- ``transport_factory`` of ``aiormq.Connection``, to get at the stream: frames of ours are written
  there whole, so they never mix with frames that aiormq writes;
- ``Channel.frames.put``, to read deliveries and confirms without a task for each;
- the handlers of ``connection.blocked`` and ``unblocked``, which aiormq only logs;
- pamqp's reader of the heads of messages: see ``amqp_reading``.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, TypeVar

import aio_pika
import aiormq
from aiormq.abc import AbstractChannel
from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory
from yarl import URL

from scheduler.errors import SessionLostError
from scheduler.transport.amqp_reading import read_leniently

HEARTBEAT_S: Final = 10
CONNECT_TIMEOUT_S: Final = 10.0
RPC_TIMEOUT_S: Final = 10.0
CLOSE_TIMEOUT_S: Final = 1.0
FRAME_QUEUE: Final = 100
"""Frames that may wait for a channel before the whole connection stops reading."""

# A lost connection is told once, by the supervisor; the libraries tell it again with tracebacks.
for _name in ("aiormq", "aio_pika"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)
read_leniently()

T = TypeVar("T")
FrameHandler = Callable[[Any], bool]
"""Told each frame of a channel; True: taken, aiormq need not see it."""


async def guarded(work: Awaitable[T], timeout_s: float = RPC_TIMEOUT_S) -> T:
    """Return what ``work`` returns, with every way a session can end told as one error.

    aiormq cancels those who wait on a connection it finds stuck; a cancellation that nobody
    asked this task for is a lost session, not a wish to stop. A wish to stop is never lost either:
    aiormq answers it with the error of a channel that closes at that moment, and ``wait_for`` of
    Python 3.11 with the result that has just come.

    Raises:
        SessionLostError: with the broker's or the network's reason in one line.
    """
    task = asyncio.current_task()
    wishes = task.cancelling() if task is not None else 0
    try:
        async with asyncio.timeout(timeout_s):
            return await work
    except asyncio.CancelledError:
        raise SessionLostError("the connection was stuck") from None
    except TimeoutError:
        raise SessionLostError(f"no answer from the broker in {timeout_s:g} s") from None
    except (aiormq.AMQPError, OSError, RuntimeError) as error:
        raise SessionLostError(reason_of(error)) from error
    finally:
        if task is not None and task.cancelling() > wishes:
            raise asyncio.CancelledError


def reason_of(error: BaseException | None) -> str:
    """Return one line for people about why a connection or channel ended."""
    if error is None:
        return "closed"
    text = " ".join(str(part) for part in error.args if part not in (None, "")) or type(error).__name__
    return text.splitlines()[0]


class _Streams(TransportFactory):
    """Opens the TCP or TLS stream and keeps hold of it."""

    writer: asyncio.StreamWriter | None = None

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        factory = TLSTransportFactory() if url.scheme == "amqps" else TCPTransportFactory()
        reader, self.writer = await factory.create(url, **kwargs)
        return reader, self.writer


class _Connection(aio_pika.Connection):
    """A plain connection of aio-pika whose stream we know. It never reconnects by itself."""

    def __init__(self, url: URL, *, streams: _Streams, connection_name: str) -> None:
        super().__init__(url, client_properties={"connection_name": connection_name, "product": "actor-scheduler"})
        self.kwargs["transport_factory"] = streams


class Wire:
    """An open connection. ``on_end`` is called once, with the reason, when it or a channel of it ends unasked."""

    def __init__(self, on_end: Callable[[str], None]) -> None:
        self._on_end = on_end
        self._streams = _Streams()
        self._connection: _Connection | None = None
        self._aiormq: Any = None
        self._expected_ends: set[int] = set()
        self._closing: set[asyncio.Task[None]] = set()

    async def open(self, url: str, connection_name: str) -> None:
        """Connect.

        Raises:
            SessionLostError: with the reason.
        """
        address = URL(url)
        if "heartbeat" not in address.query:
            address = address.update_query(heartbeat=HEARTBEAT_S)
        self._connection = _Connection(address, streams=self._streams, connection_name=connection_name)
        await guarded(self._connection.connect(timeout=CONNECT_TIMEOUT_S), CONNECT_TIMEOUT_S + 1)
        if self._connection.transport is None:
            raise SessionLostError("closed while connecting")
        self._aiormq = self._connection.transport.connection
        self._aiormq.closing.add_done_callback(self._ended)

    @property
    def frame_max(self) -> int:
        return int(self._aiormq.connection_tune.frame_max)

    @property
    def server_version(self) -> tuple[int, ...]:
        """The broker's version, e.g. (3, 10, 8)."""
        version = self._aiormq.server_properties["version"]
        text = version.decode() if isinstance(version, bytes) else str(version)
        return tuple(int(part) for part in text.split("-")[0].split("+")[0].split(".") if part.isdigit())

    def write(self, frames: bytes | bytearray) -> None:
        """Send whole frames; they are lost without a word if the connection is."""
        writer = self._streams.writer
        if writer is not None and not writer.is_closing():
            writer.write(frames)

    async def channel(self, handler: FrameHandler | None = None, *, confirms: bool = False) -> AbstractChannel:
        """Open a channel whose unasked end ends the wire; ``handler`` sees its frames first."""
        channel: AbstractChannel = await guarded(
            self._aiormq.channel(publisher_confirms=confirms, frame_buffer_size=FRAME_QUEUE)
        )
        if handler is not None:
            tap(channel, handler)
        number = channel.number
        channel.closing.add_done_callback(lambda end: None if number in self._expected_ends else self._ended(end))
        return channel

    async def scratch_channel(self) -> AbstractChannel:
        """Open a channel for a question or two; its end, wanted or not, does not end the wire."""
        channel: AbstractChannel = await guarded(self._aiormq.channel(publisher_confirms=False))
        return channel

    async def close_channel(self, channel: AbstractChannel) -> None:
        """Close a channel in order; what is unsettled on it goes back.

        The exchange with the broker is completed even when the caller is cancelled: what the channel
        holds would stay with it as long as the connection lives.
        """
        closing = asyncio.create_task(self._end(channel), name=f"end of channel {channel.number}")
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        await asyncio.shield(closing)

    async def _end(self, channel: AbstractChannel) -> None:
        self._expected_ends.add(channel.number)
        await guarded(channel.close())
        self._expected_ends.discard(channel.number)

    def watch_alarm(self, on_alarm: Callable[[bool], None]) -> None:
        """Have ``on_alarm`` called when the broker blocks this connection (True) or lets it go on (False).

        A broker says so only to connections that publish.
        """
        for frame, blocked in (("blocked", True), ("unblocked", False)):
            name = f"_Connection__handle_connection_{frame}"
            setattr(self._aiormq, name, _then(getattr(self._aiormq, name), on_alarm, blocked=blocked))

    async def close(self) -> None:
        """Close in order if the broker answers at once, else cut the connection."""
        self._on_end = lambda _: None
        if self._connection is None:
            return
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._connection.close()
        except (TimeoutError, aiormq.AMQPError, OSError, RuntimeError):
            self.abort()
        finally:
            if self._streams.writer is not None:
                self._streams.writer.close()
        with suppress(aiormq.AMQPError, OSError, RuntimeError):
            await self._connection.close()
        await asyncio.gather(*self._closing, return_exceptions=True)
        if self._aiormq is not None:
            await asyncio.wait([self._aiormq.closing], timeout=CLOSE_TIMEOUT_S)

    def abort(self) -> None:
        """Cut the connection without a word to the broker."""
        if self._streams.writer is not None:
            self._streams.writer.transport.abort()

    def _ended(self, end: "asyncio.Future[Any]") -> None:
        error = None if end.cancelled() else end.exception()
        self._on_end("the connection was stuck" if isinstance(error, asyncio.CancelledError) else reason_of(error))


def tap(channel: AbstractChannel, handler: FrameHandler) -> None:
    """Let ``handler`` see each frame of ``channel`` before, or instead of, aiormq."""
    forward = channel.frames.put

    async def put(item: tuple[int, Any]) -> None:
        if not handler(item[1]):
            await forward(item)

    channel.frames.put = put  # type: ignore[method-assign]


def _then(
    handle: Callable[[Any], Awaitable[None]], on_alarm: Callable[[bool], None], *, blocked: bool
) -> Callable[[Any], Awaitable[None]]:
    async def both(frame: Any) -> None:
        await handle(frame)
        on_alarm(blocked)

    return both
