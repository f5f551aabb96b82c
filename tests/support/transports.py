"""One way for tests to make, break and mend a transport of either kind."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

import pytest

from scheduler.clock import SystemClock
from scheduler.errors import SessionLostError
from scheduler.ports import Consumer, Delivery, LinkState, Out, PublishOutcome, Transport
from scheduler.transport import amqp, amqp_admin
from scheduler.transport.amqp import AmqpTransport
from scheduler.transport.memory import MemoryBroker, MemoryTransport
from scheduler.transport.topology import UNROUTABLE, Binding, Exchange, Limits, Queue, Topology, topology
from tests.support.proxy import Proxy

DEADLINE_S = 15.0
LIMIT = 10
CONTRACT = topology({}) + Topology(
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


class Rig(Protocol):
    """A broker under test with any number of transports to it."""

    async def declare(self, topology: Topology) -> None: ...

    async def transport(self, actor: str = "test") -> Transport:
        """Return a new transport, up; it is closed with the rig."""
        ...

    async def lose_connection(self, transport: Transport) -> None: ...

    async def delete_queue(self, name: str) -> None: ...

    async def wipe(self, topology: Topology) -> None:
        """Delete all of ``topology``."""
        ...


class MemoryRig:
    def __init__(self, stack: AsyncExitStack, *, seed: int = 1, overshoot: int = 0) -> None:
        self._stack = stack
        self._rng = random.Random(seed)
        self.broker = MemoryBroker(overshoot=overshoot)

    async def declare(self, topology: Topology) -> None:
        self.broker.declare(topology)

    async def transport(self, actor: str = "test") -> MemoryTransport:
        transport = MemoryTransport(self.broker, SystemClock(), self._rng)
        self._stack.push_async_callback(transport.close)
        await transport.start()
        await transport.wait_up(DEADLINE_S)
        return transport

    async def lose_connection(self, transport: Transport) -> None:
        assert isinstance(transport, MemoryTransport)
        transport.lose_connection()

    async def delete_queue(self, name: str) -> None:
        self.broker.delete_queue(name)

    async def wipe(self, topology: Topology) -> None:
        self.broker.wipe(topology)


class AmqpRig:
    """Each transport reaches the broker by a proxy of its own, and with what ``query`` is when it is made."""

    def __init__(
        self, stack: AsyncExitStack, url: str, *, query: str = "", queue_type: amqp_admin.QueueType = "auto"
    ) -> None:
        self._stack = stack
        self.query = query
        self._queue_type = queue_type
        self._proxies: dict[Transport, Proxy] = {}
        self.url = url

    async def declare(self, topology: Topology) -> None:
        async with amqp_admin.admin(self.url, queue_type=self._queue_type) as operator:
            await operator.declare(topology)

    async def transport(self, actor: str = "test") -> AmqpTransport:
        parts = urlsplit(self.url)
        proxy = await self._stack.enter_async_context(Proxy(parts.hostname or "", parts.port or 5672))
        netloc = f"{parts.username}:{parts.password}@127.0.0.1:{proxy.port}"
        url = urlunsplit((parts.scheme, netloc, parts.path, self.query, ""))
        transport = AmqpTransport(url, actor=actor, clock=SystemClock(), rng=random.Random(1))
        self._proxies[transport] = proxy
        self._stack.push_async_callback(transport.close)
        await transport.start()
        await transport.wait_up(DEADLINE_S)
        return transport

    def proxy(self, transport: Transport) -> Proxy:
        return self._proxies[transport]

    async def lose_connection(self, transport: Transport) -> None:
        """Reset its connections and return when it has noticed."""
        self._proxies[transport].cut()
        async for state in transport.watch():
            if state is LinkState.DOWN:
                return

    async def delete_queue(self, name: str) -> None:
        await amqp_admin.wipe(self.url, Topology((), (Queue(name),), ()))

    async def wipe(self, topology: Topology) -> None:
        await amqp_admin.wipe(self.url, topology)


@contextmanager
def patience_with_canaries() -> Iterator[None]:
    """Give canaries as long as anything else here: a broker with much to do is not one that is stuck."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(amqp, "CANARY_TIMEOUT_S", DEADLINE_S)
        yield


async def eventually(ask: Callable[[], Awaitable[Any]], wanted: object) -> None:
    """Ask until the answer is ``wanted``."""
    deadline = time.monotonic() + DEADLINE_S
    while (answer := await ask()) != wanted:
        assert time.monotonic() < deadline, f"{answer!r} instead of {wanted!r}"
        await asyncio.sleep(0.01)


async def take(consumer: Consumer, count: int) -> list[Delivery]:
    """Take exactly ``count`` deliveries."""
    taken: list[Delivery] = []
    async with asyncio.timeout(DEADLINE_S):
        while len(taken) < count:
            taken += await consumer.take(count - len(taken))
    return taken


async def publish(transport: Transport, *messages: Out) -> list[PublishOutcome]:
    """Publish in order by a publisher of its own and return the outcomes."""
    publisher = await transport.publisher("test")
    async with asyncio.timeout(DEADLINE_S):
        outcomes = await asyncio.gather(*[publisher.publish(message) for message in messages])
    await publisher.close()
    return outcomes


def bodies(deliveries: list[Delivery]) -> list[bytes]:
    return [delivery.body for delivery in deliveries]


def work(*texts: str) -> list[Out]:
    return [Out("t.direct", "work", text.encode(), message_id=text) for text in texts]


async def ready(transport: Transport, queue: str) -> int:
    return (await transport.depth(queue))[0]


async def first_after_losses(consumer: Consumer) -> Delivery:
    while True:
        try:
            return (await take(consumer, 1))[0]
        except SessionLostError:
            continue
