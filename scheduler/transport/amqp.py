"""``amqp://``: the transport on RabbitMQ, with a supervisor of its own.

aio-pika's robust connection is not used: it makes queues again that an operator deleted, and
keeps consumers silent after some failures. Here any unasked end, of a connection, a channel or a
subscription, ends the whole session; the next one begins with passive checks, and while anything
is missing the link stays down and says what.
"""

import asyncio
import random
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

import structlog

from scheduler.clock import Clock
from scheduler.errors import BrokerUnavailableError, NotFoundError, SessionLostError
from scheduler.ports import LinkState, Out, PublishOutcome
from scheduler.transport.amqp_canary import check_way, release_one
from scheduler.transport.amqp_consumer import AmqpConsumer
from scheduler.transport.amqp_publisher import AmqpPublisher
from scheduler.transport.amqp_session import Session
from scheduler.transport.broker_url import address_of, user_of
from scheduler.transport.canary import CANARY_TIMEOUT_S, canary, check_up
from scheduler.transport.link import Link
from scheduler.transport.topology import control_queue

BACKOFF_MIN_S: Final = 0.2
BACKOFF_MAX_S: Final = 5.0
STEADY_S: Final = 5.0
"""A session that lasted this long starts the backoff anew."""

log = structlog.get_logger()


class AmqpTransport:
    """A link to one vhost that keeps itself up. Several may share a process; each has two connections."""

    def __init__(self, url: str, *, actor: str, clock: Clock, rng: random.Random) -> None:
        self._url = url
        self._actor = actor
        self._clock = clock
        self._rng = rng
        self._address = address_of(url)
        self._link = Link(clock, self._address)
        self._publishers: dict[AmqpPublisher, None] = {}
        self._consumers: dict[AmqpConsumer, None] = {}
        self._controls: list[str] = []
        self._graves: AmqpPublisher | None = None
        self._canaries: AmqpPublisher | None = None
        self._one_canary = asyncio.Lock()
        self._session: Session | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._caught_up = asyncio.Event()
        self._connections = 0

    async def start(self) -> None:
        if self._supervisor is None:
            self._link.move(LinkState.DOWN, "not connected yet")
            self._supervisor = asyncio.create_task(self._supervise(), name=f"broker link of {self._actor}")

    async def wait_up(self, timeout_s: float) -> None:
        await self._link.wait_up(timeout_s)

    async def publisher(self, name: str) -> AmqpPublisher:
        del name  # channels have no names
        publisher = AmqpPublisher(self._clock, user_of(self._url))
        publisher.on_closed = lambda: self._publishers.pop(publisher, None)
        publisher.hold(blocked=self.state is LinkState.BLOCKED)
        self._publishers[publisher] = None
        await self._carried()
        return publisher

    async def consumer(self, queue: str, *, credit: int, name: str) -> AmqpConsumer:
        consumer = AmqpConsumer(queue, credit, f"{name}@{socket.gethostname()}", self._copy)
        consumer.on_closed = lambda: self._consumers.pop(consumer, None)
        self._consumers[consumer] = None
        await self._carried()
        return consumer

    async def declare_control(self, executor: str) -> str:
        if executor not in self._controls:
            self._controls.append(executor)
            await self._carried()
        return control_queue(executor)

    async def depth(self, queue: str) -> tuple[int, int]:
        if self._session is None:
            raise BrokerUnavailableError(self.trouble)
        try:
            return await self._session.depth(queue)
        except SessionLostError as error:
            if "NOT_FOUND" in str(error):
                raise NotFoundError(f"no queue {queue}") from None
            raise BrokerUnavailableError(f"broker {self._address} is not reachable: {error}") from None

    async def send_canary(self) -> float:
        check_up(self.state)
        try:
            async with asyncio.timeout(CANARY_TIMEOUT_S), self._one_canary:
                return await self._fly()
        except TimeoutError:
            raise BrokerUnavailableError(f"nothing came back through it within {CANARY_TIMEOUT_S} s") from None
        except SessionLostError as error:
            raise BrokerUnavailableError(f"nothing comes back through it: {error}") from None

    @property
    def trouble(self) -> str:
        return self._link.trouble

    @property
    def state(self) -> LinkState:
        return self._link.state

    @property
    def up_since(self) -> float | None:
        return self._link.up_since

    def watch(self) -> AsyncIterator[LinkState]:
        return self._link.watch()

    async def close(self) -> None:
        await asyncio.gather(*[publisher.close() for publisher in list(self._publishers)])
        await asyncio.gather(*[consumer.close() for consumer in list(self._consumers)])
        if self._supervisor is not None:
            self._supervisor.cancel()
            with suppress(asyncio.CancelledError):
                await self._supervisor
            self._supervisor = None
        self._link.close()

    async def _supervise(self) -> None:
        failures = 0
        while True:
            began = self._clock.monotonic()
            session = Session(self._url, (self._next_name(), self._next_name()), self._rng)
            try:
                reason = await self._run(session)
            finally:
                self._session = None
                self._detach(None)
                await session.close()
            failures = 0 if self._clock.monotonic() - began > STEADY_S else failures + 1
            log.warning("broker.link_lost", actor=self._actor, broker=self._address, reason=reason, failures=failures)
            backoff = min(BACKOFF_MAX_S, BACKOFF_MIN_S * 2 ** min(failures, 10))
            await self._clock.sleep(backoff * self._rng.uniform(0.5, 1.0))

    async def _run(self, session: Session) -> str:
        """Live through one session and return why it ended."""
        try:
            await session.open()
            session.publishing.watch_alarm(self._on_alarm)
            while session.lost is None:
                session.news.clear()
                await self._populate(session)
                self._come_up(session)
                await session.news.wait()
        except SessionLostError as error:
            session.fail(str(error))
        self._session = None
        reason = session.lost or "closed"
        self._link.move(LinkState.DOWN, reason)
        self._detach(reason)
        self._caught_up.set()
        return reason

    def _come_up(self, session: Session) -> None:
        self._caught_up.set()
        if self._session is None and session.lost is None:
            self._session = session
            self._link.move(LinkState.UP)
            log.info("broker.link_up", actor=self._actor, broker=self._address)

    async def _carried(self) -> None:
        """Have the running session take up what was added; without one the next session does."""
        if self._session is not None:
            self._caught_up.clear()
            self._session.news.set()
            await self._caught_up.wait()

    async def _populate(self, session: Session) -> None:
        """Give the session what it does not carry yet, also what is added meanwhile.

        Nothing is consumed before all queues are known to be there. Only the supervisor's task
        comes here, so that nothing is attached twice or to a session that is over.
        """
        while True:
            controls = [executor for executor in self._controls if not session.has_control(executor)]
            publishers = [publisher for publisher in self._publishers if not publisher.attached]
            consumers = [consumer for consumer in self._consumers if not consumer.attached]
            if not (controls or publishers or consumers):
                return
            for executor in controls:
                await session.declare_control(executor)
            for publisher in publishers:
                await publisher.attach(session.publishing)
            for consumer in consumers:
                await session.attach_consumer(consumer)
            for consumer in list(self._consumers):
                await consumer.begin()

    def _detach(self, reason: str | None) -> None:
        for publisher in self._publishers:
            publisher.detach()
        for consumer in self._consumers:
            consumer.detach(lost=reason)

    async def _copy(self, out: Out) -> PublishOutcome:
        """Publish a dead letter; the publisher for them is made when the first one comes."""
        if self._graves is None:
            self._graves = await self.publisher("dead-letters")
        return await self._graves.publish(out)

    async def _fly(self) -> float:
        session = self._session
        if session is None:
            raise SessionLostError(self._link.reason)
        await check_way(session.consuming)
        if self._canaries is None:
            self._canaries = await self.publisher("canary")
        began = self._clock.monotonic()
        while session is self._session:
            stored = await self._canaries.publish(canary()) is PublishOutcome.STORED
            if stored and await release_one(session.consuming):
                return self._clock.monotonic() - began
        raise SessionLostError(self._link.reason)

    def _on_alarm(self, blocked: bool) -> None:  # noqa: FBT001 - a callback
        if self._session is not None:
            self._link.move(LinkState.BLOCKED if blocked else LinkState.UP, "the broker raised an alarm")
        for publisher in self._publishers:
            publisher.hold(blocked=blocked)

    def _next_name(self) -> str:
        self._connections += 1
        return f"scheduler/{self._actor}@{socket.gethostname()}#{self._connections}"
