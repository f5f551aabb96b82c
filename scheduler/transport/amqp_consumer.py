"""The way in on ``amqp://``: deliveries gathered without a task for each, settled with few frames."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final, cast

from aiormq.abc import AbstractChannel
from pamqp import commands
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from scheduler.dead_letter import dead_letter
from scheduler.errors import SessionLostError
from scheduler.ports import Delivery, Out, PublishOutcome
from scheduler.transport import amqp_frames
from scheduler.transport.amqp_wire import Wire, guarded

MAX_PREFETCH: Final = 65_535
Settle = Callable[..., bytes]
_COUNTS: Final = frozenset({"x-delivery-count", "x-acquired-count"})
"""Headers that quorum queues add when they deliver again. What was said is then no longer what is delivered."""


class AmqpConsumer:
    """One channel, one subscription at a time; survives reconnects.

    AMQP fixes the prefetch of a subscription when it starts, so a change of credit is a new
    subscription. What an older one delivered and is still unsettled is taken off the credit of
    the new one, and given to it once all of that is settled.
    """

    def __init__(self, queue: str, credit: int, name: str, copy: Callable[[Out], Awaitable[PublishOutcome]]) -> None:
        self.queue = queue
        self._name = name
        self._copy = copy
        self._credit = credit
        self._wire: Wire | None = None
        self._channel: AbstractChannel | None = None
        self._source = queue
        self._epoch = 0
        self._subscription = 0
        self._prefetch = 0
        self._older = 0
        self._unsettled: dict[int, int] = {}
        self._gathered: deque[Delivery] = deque()
        self._arriving: tuple[commands.Basic.Deliver, ContentHeader | None, list[bytes]] | None = None
        self._news = asyncio.Event()
        self._changing = asyncio.Lock()
        self._change: asyncio.Task[None] | None = None
        self._lost: str | None = None
        self._closed = False
        self.on_closed: Callable[[], object] = lambda: None
        self.on_failure: Callable[[str], None] = lambda _: None

    async def take(self, limit: int) -> list[Delivery]:
        while True:
            if self._closed:
                return []
            if self._lost is not None:
                reason, self._lost = self._lost, None
                raise SessionLostError(reason)
            if self._gathered:
                return [self._gathered.popleft() for _ in range(min(limit, len(self._gathered)))]
            self._news.clear()
            await self._news.wait()

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        self._settle(deliveries, amqp_frames.ack)

    async def release(self, deliveries: Sequence[Delivery]) -> None:
        self._settle(deliveries, amqp_frames.requeue)

    async def bury(self, deliveries: Sequence[Delivery], reason: str) -> None:
        held = [delivery for delivery in deliveries if self._tag_of(delivery) is not None]
        outcomes = await asyncio.gather(*[self._copy(dead_letter(delivery, reason)) for delivery in held])
        copied = [outcome is PublishOutcome.STORED for outcome in outcomes]
        await self.ack([delivery for delivery, stored in zip(held, copied, strict=True) if stored])
        await self.release([delivery for delivery, stored in zip(held, copied, strict=True) if not stored])

    async def set_credit(self, credit: int) -> None:
        self._credit = credit
        self._resubscribe_soon()
        if self._change is not None:
            # Not awaited itself: a caller that is cancelled must not break the exchange with the
            # broker in the middle, nor be cancelled by the end of the session.
            await asyncio.wait([self._change])

    async def close(self) -> None:
        self._closed = True
        self._news.set()
        self.on_closed()
        wire, channel = self._wire, self._channel
        self.detach()
        if wire is not None and channel is not None:
            with suppress(SessionLostError):
                await wire.close_channel(channel)

    @property
    def attached(self) -> bool:
        return self._channel is not None

    async def attach(self, wire: Wire, source: str) -> None:
        """Open the channel in a new session and see that the queue, there named ``source``, exists.

        Raises:
            SessionLostError: it does not; says its name.
        """
        self._source = source
        channel = await wire.channel(self.on_frame)
        self._wire, self._channel = wire, channel
        try:
            await guarded(channel.queue_declare(source, passive=True))
        except SessionLostError:
            if not self._closed:
                raise

    async def begin(self) -> None:
        """Subscribe, after ``attach``; once more does nothing."""
        if not self._subscription:
            await self._resubscribe()

    def detach(self, lost: str | None = None) -> None:
        """End the session; ``lost`` is why, for the next ``take``, unless we wanted it."""
        if self._change is not None:
            self._change.cancel()
        self._wire = self._channel = self._arriving = None
        self._unsettled.clear()
        self._gathered.clear()
        self._epoch += 1
        begun, self._subscription = self._subscription, 0
        self._prefetch = self._older = 0
        if lost is not None and begun:
            self._lost = lost
            self._news.set()

    def on_frame(self, frame: Any) -> bool:
        """Take deliveries; leave every other frame, but notice when the broker ends the subscription."""
        if isinstance(frame, ContentBody):
            return self._gather(body=frame.value)
        if isinstance(frame, ContentHeader):
            return self._gather(header=frame)
        if isinstance(frame, commands.Basic.Deliver):
            self._arriving = (frame, None, [])
            return True
        if isinstance(frame, commands.Basic.Cancel):
            self.on_failure(f"queue {self._source} was deleted or its broker went away")
        return False

    def _gather(self, *, header: ContentHeader | None = None, body: bytes | None = None) -> bool:
        if self._arriving is None:
            return False
        frame, known, parts = self._arriving
        known = known or header
        if known is None:
            return False
        if body is not None:
            parts.append(body)
        if sum(map(len, parts)) < (known.body_size or 0):
            self._arriving = (frame, known, parts)
        else:
            self._arriving = None
            self._receive(frame, known, parts[0] if len(parts) == 1 else b"".join(parts))
        return True

    def _receive(self, frame: commands.Basic.Deliver, header: ContentHeader, body: bytes) -> None:
        tag = frame.delivery_tag or 0
        props = header.properties
        self._unsettled[tag] = self._subscription
        self._gathered.append(
            Delivery(
                queue=self.queue,
                exchange=frame.exchange or "",
                key=frame.routing_key or "",
                body=body,
                message_id=props.message_id,
                headers=_said(props.headers) if props.headers else {},
                redelivered=bool(frame.redelivered),
                content_type=props.content_type,
                sender=props.user_id or props.app_id,
                token=(self._epoch, tag),
            )
        )
        self._news.set()

    def _tag_of(self, delivery: Delivery) -> int | None:
        """Return the tag of a delivery still to be settled; None for settled and for earlier sessions'."""
        epoch, tag = cast("tuple[int, int]", delivery.token)
        return tag if epoch == self._epoch and tag in self._unsettled else None

    def _settle(self, deliveries: Sequence[Delivery], frame: Settle) -> None:
        """Settle with one frame what is first among the unsettled without a gap, the rest one by one."""
        tags = {tag for delivery in deliveries if (tag := self._tag_of(delivery)) is not None}
        if not tags or self._wire is None or self._channel is None:
            return
        number, buffer = self._channel.number, bytearray()
        leading = []
        for tag in self._unsettled:
            if tag not in tags:
                break
            leading.append(tag)
        if leading:
            buffer += frame(leading[-1], number, multiple=len(leading) > 1)
        for tag in sorted(tags.difference(leading)):
            buffer += frame(tag, number, multiple=False)
        older_before = self._older
        for tag in tags:
            self._older -= self._unsettled.pop(tag) != self._subscription
        self._wire.write(buffer)
        if self._older != older_before and (self._older == 0 or self._prefetch == 0):
            self._resubscribe_soon()

    def _resubscribe_soon(self) -> None:
        wanted = max(0, self._credit - self._older)
        if self._subscription and wanted != self._prefetch and (self._change is None or self._change.done()):
            self._change = asyncio.create_task(self._resubscribe(), name=f"credit of {self.queue}")

    async def _resubscribe(self) -> None:
        """Bring the subscription in line with the credit; a failure ends the session."""
        async with self._changing:
            while (channel := self._channel) is not None and not self._closed:
                wanted = min(max(0, self._credit - self._older), MAX_PREFETCH)
                if wanted == self._prefetch and self._subscription:
                    return
                try:
                    await self._subscribe(channel, wanted)
                except SessionLostError as error:
                    if channel is self._channel:
                        self.on_failure(str(error))
                    return

    async def _subscribe(self, channel: AbstractChannel, wanted: int) -> None:
        """Replace the subscription; ``wanted`` is an estimate that what arrives meanwhile may lower."""
        if self._prefetch:
            await guarded(channel.basic_cancel(self._consumer_tag()))
            self._prefetch = 0
            if channel is not self._channel:
                return
        excess = max(0, len(self._unsettled) - self._credit)
        self._settle([self._gathered.pop() for _ in range(min(excess, len(self._gathered)))], amqp_frames.requeue)
        self._subscription += 1
        self._older = len(self._unsettled)
        wanted = min(max(0, self._credit - self._older), MAX_PREFETCH)
        if wanted:
            await guarded(channel.basic_qos(prefetch_count=wanted))
            if channel is self._channel:
                self._prefetch = wanted
                await guarded(channel.basic_consume(self._source, _unused, consumer_tag=self._consumer_tag()))

    def _consumer_tag(self) -> str:
        return f"{self._name}.{self._subscription}"


async def _unused(_: Any) -> None:
    """Stand in for aiormq's callback: ``on_frame`` takes deliveries before aiormq sees them."""


def _said(headers: dict[str, Any]) -> dict[str, Any]:
    """Return what a publisher said of a message, without what its queue has added."""
    if _COUNTS.isdisjoint(headers):
        return headers
    return {name: value for name, value in headers.items() if name not in _COUNTS}
