"""The way out on ``amqp://``: many messages in one write, every one of them confirmed.

What is published in one turn of the event loop leaves as one buffer. At most ``WINDOW`` messages
or ``WINDOW_BYTES`` bytes are unconfirmed at a time; what comes above waits, in order.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from aiormq.abc import AbstractChannel
from pamqp import commands

from scheduler.clock import Clock
from scheduler.crash import crash_point
from scheduler.errors import SessionLostError
from scheduler.ports import Out, PublishOutcome
from scheduler.transport import amqp_frames
from scheduler.transport.amqp_returns import Returning
from scheduler.transport.amqp_wire import Wire

PUBLISH_TIMEOUT_S: Final = 10.0
WINDOW: Final = 1000
"""More in flight made the broker slower, not faster."""
WINDOW_BYTES: Final = 8 * 1024 * 1024
_METHODS_KEPT: Final = 1000

Outcome = asyncio.Future[PublishOutcome]


@dataclass(slots=True)
class Pending:
    """A message on its way; ``deadline`` in seconds of the clock's monotonic time."""

    exchange: str
    key: str
    props: bytes
    body: bytes
    future: Outcome
    deadline: float
    mandatory: str | None
    """Its message id, by which it is known when the broker returns it; None: it is not mandatory."""
    returned: bool = False


class AmqpPublisher:
    """One channel with confirms; survives reconnects, unconfirmed messages become UNKNOWN."""

    def __init__(self, clock: Clock, user_id: str | None) -> None:
        self._clock = clock
        self._user_id = user_id
        self._waiting: deque[Pending] = deque()
        self._unconfirmed: dict[int, Pending] = {}
        self._unconfirmed_bytes = 0
        self._wire: Wire | None = None
        self._channel: AbstractChannel | None = None
        self._methods: dict[tuple[str, str, bool], bytes] = {}
        self._returning = Returning(self._give_back)
        self._tag = 0
        self._held = False
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        self.on_closed: Callable[[], object] = lambda: None

    def publish(self, message: Out) -> Outcome:
        """See the port; a message that AMQP cannot carry raises ValueError here and now."""
        loop = asyncio.get_running_loop()
        mandatory = message.message_id if message.mandatory else None
        props = amqp_frames.properties(message, self._user_id)
        deadline = self._clock.monotonic() + PUBLISH_TIMEOUT_S
        future: Outcome = loop.create_future()
        pending = Pending(message.exchange, message.key, props, bytes(message.body), future, deadline, mandatory)
        if self._closed:
            future.set_result(PublishOutcome.UNKNOWN)
            return future
        self._waiting.append(pending)
        if len(self._waiting) == 1:
            loop.call_soon(self._send)
        if self._timer is None:
            self._timer = loop.call_later(PUBLISH_TIMEOUT_S, self._expire)
        return future

    async def close(self) -> None:
        self._closed = True
        under_way = [pending.future for pending in (*self._unconfirmed.values(), *self._waiting)]
        if under_way:
            await asyncio.wait(under_way)
        if self._timer is not None:
            self._timer.cancel()
        self.on_closed()
        wire, channel = self._wire, self._channel
        self.detach()
        if wire is not None and channel is not None:
            with suppress(SessionLostError):
                await wire.close_channel(channel)

    @property
    def attached(self) -> bool:
        return self._channel is not None

    async def attach(self, wire: Wire) -> None:
        """Open the channel in a new session and send what waited for it."""
        self._channel = await wire.channel(self.on_frame, confirms=True)
        self._wire = wire
        self._tag = 0
        self._methods.clear()
        self._returning = Returning(self._give_back)
        self._send()

    def detach(self) -> None:
        """The session is over: nobody knows any more what became of the unconfirmed."""
        self._wire = self._channel = None
        self._held = False
        lost, self._unconfirmed, self._unconfirmed_bytes = self._unconfirmed, {}, 0
        for pending in lost.values():
            _tell(pending, PublishOutcome.UNKNOWN)

    def hold(self, *, blocked: bool) -> None:
        """Keep back what is not sent while the broker is ``blocked``."""
        self._held = blocked
        self._send()

    def on_frame(self, frame: Any) -> bool:
        """Take confirms, and messages that come back; leave every other frame."""
        if isinstance(frame, commands.Basic.Ack):
            outcome = PublishOutcome.STORED
        elif isinstance(frame, commands.Basic.Nack):
            outcome = PublishOutcome.REFUSED
        else:
            return self._returning.take(frame)
        last = frame.delivery_tag or 0
        if frame.multiple:
            tags = []
            for tag in self._unconfirmed:
                if tag > last:
                    break
                tags.append(tag)
        else:
            tags = [last] if last in self._unconfirmed else []
        for tag in tags:
            pending = self._unconfirmed.pop(tag)
            self._unconfirmed_bytes -= len(pending.body)
            _tell(pending, PublishOutcome.UNROUTABLE if pending.returned else outcome)
        if self._waiting:
            self._send()
        return True

    def _give_back(self, message_id: str) -> None:
        """Note that the broker returned a message; its confirm comes after it."""
        for pending in self._unconfirmed.values():
            if pending.mandatory == message_id and not pending.returned:
                pending.returned = True
                return

    def _send(self) -> None:
        if self._wire is None or self._channel is None or self._held:
            return
        number, frame_max = self._channel.number, self._wire.frame_max
        buffer, key = bytearray(), ""
        while self._waiting and self._has_room(len(self._waiting[0].body)):
            pending = self._waiting.popleft()
            self._tag += 1
            self._unconfirmed[self._tag] = pending
            self._unconfirmed_bytes += len(pending.body)
            key = pending.key
            buffer += self._method(pending.exchange, key, number, mandatory=pending.mandatory is not None)
            buffer += amqp_frames.content(pending.props, pending.body, number, frame_max)
        if buffer:
            self._wire.write(buffer)
            crash_point("publisher.after_write", key)

    def _has_room(self, size: int) -> bool:
        if not self._unconfirmed:
            return True
        return len(self._unconfirmed) < WINDOW and self._unconfirmed_bytes + size <= WINDOW_BYTES

    def _method(self, exchange: str, key: str, number: int, *, mandatory: bool) -> bytes:
        method = self._methods.get((exchange, key, mandatory))
        if method is None:
            if len(self._methods) >= _METHODS_KEPT:
                self._methods.clear()
            method = amqp_frames.publish_method(exchange, key, number, mandatory=mandatory)
            self._methods[exchange, key, mandatory] = method
        return method

    def _expire(self) -> None:
        """Give up what is past its deadline; what is sent keeps its place in the window until it is confirmed."""
        self._timer = None
        now = self._clock.monotonic()
        while self._waiting and self._waiting[0].deadline <= now:
            _tell(self._waiting.popleft(), PublishOutcome.UNKNOWN)
        held = [pending for pending in (*self._unconfirmed.values(), *self._waiting) if not pending.future.done()]
        for pending in held:
            if pending.deadline <= now:
                _tell(pending, PublishOutcome.UNKNOWN)
        left = [pending.deadline for pending in held if not pending.future.done()]
        if left:
            self._timer = asyncio.get_running_loop().call_later(max(0.01, left[0] - now), self._expire)


def _tell(pending: Pending, outcome: PublishOutcome) -> None:
    if not pending.future.done():
        pending.future.set_result(outcome)
