"""``memory://``: the transport of ``scheduler up`` without a broker of its own process.

It keeps the promises of ``amqp://`` (one contract suite runs over both), but nothing outlives the
process: it is honest only because sweepers say again whatever the database knows to be owed.
"""

import asyncio
import random
from collections.abc import AsyncIterator

from scheduler.clock import Clock
from scheduler.errors import BrokerUnavailableError, NotFoundError
from scheduler.ports import LinkState
from scheduler.transport.canary import canary, check_up
from scheduler.transport.link import Link
from scheduler.transport.memory_broker import MemoryBroker
from scheduler.transport.memory_consumer import MemoryConsumer
from scheduler.transport.memory_publisher import MemoryPublisher
from scheduler.transport.topology import CANARY, CONTROL, Binding, Queue, control_queue

__all__ = ["MemoryBroker", "MemoryTransport"]


class MemoryTransport:
    """A link to a :class:`MemoryBroker`, with sessions that can be lost like those of a real one."""

    def __init__(self, broker: MemoryBroker, clock: Clock, rng: random.Random) -> None:
        self._broker = broker
        self._clock = clock
        self._rng = rng
        self._link = Link(clock, "memory://")
        self._publishers: dict[MemoryPublisher, None] = {}
        self._consumers: dict[MemoryConsumer, None] = {}
        self._controls: list[str] = []
        self._started = False
        self._cut = False

    async def start(self) -> None:
        if not self._started:
            self._started = True
            self._broker.join(self)
            self.reconnect()

    async def wait_up(self, timeout_s: float) -> None:
        await self._link.wait_up(timeout_s)

    async def publisher(self, name: str) -> MemoryPublisher:
        del name  # a name is for the management page of a real broker
        publisher = MemoryPublisher(self._broker, self._link, self._clock, self._rng)
        self._publishers[publisher] = None
        publisher.on_closed = lambda: self._publishers.pop(publisher, None)
        return publisher

    async def consumer(self, queue: str, *, credit: int, name: str) -> MemoryConsumer:
        del name
        consumer = MemoryConsumer(self._broker, queue, credit, self._rng)
        self._consumers[consumer] = None
        consumer.on_closed = lambda: self._consumers.pop(consumer, None)
        consumer.on_source_gone = self.lose_connection
        if self._link.state is not LinkState.DOWN:
            if (obstacle := self._obstacle()) is None:
                consumer.attach(self._broker.queues[queue])
            else:
                self.lose_connection(obstacle)
        return consumer

    async def declare_control(self, executor: str) -> str:
        if executor not in self._controls:
            self._controls.append(executor)
            if self._link.state is not LinkState.DOWN:
                if (obstacle := self._obstacle()) is None:
                    self._make_control(executor)
                else:
                    self.lose_connection(obstacle)
        return control_queue(executor)

    async def depth(self, queue: str) -> tuple[int, int]:
        if self._link.state is LinkState.DOWN:
            raise BrokerUnavailableError(self.trouble)
        if queue not in self._broker.queues:
            raise NotFoundError(f"no queue {queue}")
        found = self._broker.queues[queue]
        return len(found.ready), len(found.receivers)

    async def send_canary(self) -> float:
        check_up(self._link.state)
        if CANARY not in self._broker.queues:
            raise BrokerUnavailableError(f"nothing comes back through it: no queue {CANARY}")
        began = self._clock.monotonic()
        self._broker.publish(canary())
        self._broker.queues[CANARY].drop_one()
        return self._clock.monotonic() - began

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
        for publisher in list(self._publishers):
            await publisher.close()
        for consumer in list(self._consumers):
            await consumer.close()
        if self._started:
            self._started = False
            self._drop_controls()
            self._broker.leave(self)
        self._link.close()

    def lose_connection(self, reason: str = "the connection was cut", *, stay_away: bool = False) -> None:
        """Lose the session as a broken connection would; come back at once unless ``stay_away``."""
        self._cut = self._cut or stay_away
        if self._link.state is LinkState.DOWN:
            return
        self._link.move(LinkState.DOWN, reason)
        for publisher in self._publishers:
            publisher.lose()
        for consumer in self._consumers:
            consumer.detach(lost=reason)
        self._drop_controls()
        asyncio.get_running_loop().call_soon(self.reconnect)

    def restore_connection(self) -> None:
        """End ``stay_away``."""
        self._cut = False
        self.reconnect()

    def reconnect(self) -> None:
        """Come up if nothing stands against it; a missing queue does, until it is declared."""
        if not self._started or self._cut or self._link.state is not LinkState.DOWN:
            return
        if (obstacle := self._obstacle()) is not None:
            self._link.move(LinkState.DOWN, obstacle)
            return
        for executor in self._controls:
            self._make_control(executor)
        self._link.move(LinkState.UP)
        for consumer in self._consumers:
            consumer.attach(self._broker.queues[consumer.queue])
        self.alarm(blocked=self._broker.blocked)

    def alarm(self, *, blocked: bool) -> None:
        if self._link.state is LinkState.DOWN:
            return
        self._link.move(LinkState.BLOCKED if blocked else LinkState.UP, "the broker raised an alarm" if blocked else "")
        for publisher in self._publishers:
            publisher.send()

    def confirm(self) -> None:
        for publisher in self._publishers:
            publisher.confirm()

    def _obstacle(self) -> str | None:
        """Return what is missing at the broker for this transport to work, in words; None: nothing."""
        if self._controls and not self._broker.has_exchange(CONTROL):
            return f"no exchange {CONTROL}"
        own = {control_queue(executor) for executor in self._controls}
        for consumer in self._consumers:
            if consumer.queue not in self._broker.queues and consumer.queue not in own:
                return f"no queue {consumer.queue}"
        return None

    def _make_control(self, executor: str) -> None:
        name = control_queue(executor)
        self._broker.declare_queue(Queue(name))
        self._broker.bind(Binding(CONTROL, name, executor))

    def _drop_controls(self) -> None:
        for executor in self._controls:
            self._broker.delete_queue(control_queue(executor))
