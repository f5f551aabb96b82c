"""One session with RabbitMQ: two connections that live and end together.

Two, because a broker in alarm stops reading from connections that publish, and acks have to get
through all the same.
"""

import asyncio
import random

from scheduler.errors import SessionLostError
from scheduler.transport.amqp_consumer import AmqpConsumer
from scheduler.transport.amqp_wire import Wire, guarded
from scheduler.transport.topology import CONTROL, control_queue


class Session:
    """Ends as soon as any part of it ends unasked; ``lost`` is then the reason, in one line.

    ``news`` is set when it is lost, and by whoever has something new for it to carry.
    """

    def __init__(self, url: str, names: tuple[str, str], rng: random.Random) -> None:
        """``names`` are what the broker shows of the publishing and of the consuming connection."""
        self._url = url
        self._names = names
        self._rng = rng
        self._controls: dict[str, str] = {}
        self.lost: str | None = None
        self.news = asyncio.Event()
        self.publishing = Wire(self.fail)
        self.consuming = Wire(self.fail)

    def fail(self, reason: str) -> None:
        """End the session; the first reason counts."""
        if self.lost is None:
            self.lost = reason
        self.news.set()

    async def open(self) -> None:
        """Connect both.

        Raises:
            SessionLostError: with the reason.
        """
        for wire, name in ((self.publishing, self._names[0]), (self.consuming, self._names[1])):
            await wire.open(self._url, name)

    def has_control(self, executor: str) -> bool:
        return control_queue(executor) in self._controls

    async def declare_control(self, executor: str) -> None:
        """Make the executor's control queue, which ends with this session.

        After a connection that died silently, the broker still holds the old queue for a while;
        then this session's gets another name, known to nobody but us, and the same key.
        """
        name = control_queue(executor)
        try:
            await self._make_control(name, executor)
        except SessionLostError as error:
            if "RESOURCE_LOCKED" not in str(error):
                raise
            name = f"{name}.{self._rng.getrandbits(32):08x}"
            await self._make_control(name, executor)
        self._controls[control_queue(executor)] = name

    async def _make_control(self, name: str, executor: str) -> None:
        channel = await self.consuming.scratch_channel()
        await guarded(channel.queue_declare(name, exclusive=True, auto_delete=True))
        await guarded(channel.queue_bind(name, CONTROL, executor))
        await guarded(channel.close())

    async def attach_consumer(self, consumer: AmqpConsumer) -> None:
        consumer.on_failure = self.fail
        await consumer.attach(self.consuming, self.name_of(consumer.queue))

    async def depth(self, queue: str) -> tuple[int, int]:
        """Return (ready, consumers).

        Raises:
            SessionLostError: no such queue, or the session ended meanwhile; says which.
        """
        channel = await self.consuming.scratch_channel()
        found = await guarded(channel.queue_declare(self.name_of(queue), passive=True))
        await guarded(channel.close())
        return found.message_count or 0, found.consumer_count or 0

    def name_of(self, queue: str) -> str:
        """Return the broker's name of a queue; only a control queue may have another than ours."""
        return self._controls.get(queue, queue)

    async def close(self) -> None:
        """Close both connections; what is unsettled goes back."""
        await asyncio.gather(self.publishing.close(), self.consuming.close())
