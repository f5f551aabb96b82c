"""``broker declare``, ``check`` and ``rebuild`` on RabbitMQ. Actors never declare; they only consume and publish.

Limits and dead letters of a queue are a policy, and can be changed later, when a management URL is
given; else they are arguments of the queue, which stay what they are until the queue is deleted.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, Literal

from aiormq.abc import AbstractChannel

from scheduler.clock import Clock
from scheduler.dead_letter import DEAD_LETTERS
from scheduler.errors import BrokerUnavailableError, ConfigurationError, NotPermittedError, SessionLostError
from scheduler.transport.amqp_canary import check_way, release_one, send_one
from scheduler.transport.amqp_management import Management
from scheduler.transport.amqp_wire import Wire, guarded
from scheduler.transport.broker_url import address_of, vhost_of
from scheduler.transport.canary import CANARY_TIMEOUT_S
from scheduler.transport.topology import Binding, Exchange, Queue, Topology

QueueType = Literal["auto", "quorum", "classic"]
_QUORUM_BY_DEFAULT: Final = (4, 0)
"""From this version on a single node gets quorum queues too.

The only node of one must not be killed within some two seconds of its declaration: the queue is not registered on the
disk yet, and answers nobody after the restart (seen with 3.10.8 and 4.0.5). On 3.10 a single node gets classic ones.
"""
_MISMATCH: Final = re.compile(
    r"inequivalent arg '(?P<arg>[^']+)'.*?received (?P<wanted>.+?) but current is (?P<found>.+)"
)
_POLICY_PRIORITY: Final = 10

Arguments = dict[str, Any]


class Admin:
    """A connection with the rights to declare; from :func:`admin`."""

    def __init__(self, wire: Wire, management: Management | None, queue_type: Literal["quorum", "classic"]) -> None:
        self._wire = wire
        self.management = management
        self.queue_type = queue_type
        self.version = wire.server_version

    async def declare(self, topology: Topology) -> list[str]:
        """Make what is missing, bring policies up to date; return a line for each thing made or changed.

        Raises:
            ConfigurationError: something is there and differs in what cannot be changed.
            NotPermittedError: the user may not.
        """
        made = []
        for exchange in topology.exchanges:
            if not await self._is_there(exchange):
                made.append(f"exchange {exchange.name}")
            await self._do(partial(declare_exchange, exchange), f"exchange {exchange.name}")
        for queue in topology.queues:
            if not await self._is_there(queue):
                made.append(f"queue {queue.name} ({self.queue_type})")
            await self._do(partial(declare_queue, queue, self.arguments(queue)), f"queue {queue.name}")
            if self.management is not None and await self._apply_policy(self.management, queue):
                made.append(f"policy {queue.name}")
        for binding in topology.bindings:
            await self._do(partial(bind, binding), f"binding {binding.exchange} → {binding.queue}")
        return made

    async def check(self, topology: Topology) -> list[str]:
        """Return a line for each difference between ``topology`` and the broker; changes nothing.

        Types, arguments, bindings and policies are compared only with a management URL.
        """
        parts: list[Exchange | Queue] = [*topology.exchanges, *topology.queues]
        differences = [
            f"{type(part).__name__.lower()} {part.name} is missing" for part in parts if not await self._is_there(part)
        ]
        if self.management is None:
            return differences
        found, bound = await self.management.queues(), await self.management.bindings()
        for queue in topology.queues:
            if queue.name in found:
                differences += self._compare(queue, found[queue.name])
                wanted, there = self._policy(queue), await self.management.policy(queue.name)
                if wanted is not None and (there or {}).get("definition") != wanted["definition"]:
                    differences.append(f"policy {queue.name} is {(there or {}).get('definition')}, not as declared")
        for binding in topology.bindings:
            if (binding.exchange, binding.queue, binding.key) not in bound:
                differences.append(f"binding {binding.exchange} → {binding.queue} ({binding.key!r}) is missing")
        return differences

    async def send_canary(self, clock: Clock) -> float:
        """Send a message through a queue and back; return the seconds that took.

        Raises:
            BrokerUnavailableError: nothing came back; says why.
        """
        try:
            async with asyncio.timeout(CANARY_TIMEOUT_S):
                await check_way(self._wire)
                began = clock.monotonic()
                while True:
                    await send_one(self._wire)
                    if await release_one(self._wire):
                        return clock.monotonic() - began
        except TimeoutError:
            raise BrokerUnavailableError(f"nothing came back through it within {CANARY_TIMEOUT_S} s") from None
        except SessionLostError as error:
            raise BrokerUnavailableError(f"nothing comes back through it: {error}") from None

    async def wipe(self, topology: Topology) -> list[str]:
        """Delete the queues and exchanges of ``topology`` with all messages in them; return their names."""
        gone = []
        parts: list[Exchange | Queue] = [*topology.queues, *topology.exchanges]
        for part in parts:
            if await self._is_there(part):
                await self._do(partial(delete, part), part.name)
                gone.append(part.name)
        return gone

    def arguments(self, queue: Queue) -> Arguments:
        """Return what ``queue`` is declared with."""
        arguments: Arguments = {"x-queue-type": self.queue_type}
        if self.management is None:
            arguments |= {f"x-{name}": value for name, value in self._tunable(queue).items()}
        return arguments

    def _tunable(self, queue: Queue) -> dict[str, Any]:
        limits = queue.limits
        tunable: dict[str, Any] = {}
        if limits.max_length is not None or limits.max_length_bytes is not None:
            tunable |= {"max-length": limits.max_length, "max-length-bytes": limits.max_length_bytes}
            tunable["overflow"] = limits.overflow
        if limits.ttl_s is not None:
            tunable["message-ttl"] = limits.ttl_s * 1000
        if queue.dead_letters:
            tunable["dead-letter-exchange"] = DEAD_LETTERS
        if self.queue_type == "quorum" and self.version >= _QUORUM_BY_DEFAULT:
            # From 4.0 on the broker gives up a message after 20 returns; a database that is away
            # for a minute causes more. Actors count crashes themselves.
            tunable["delivery-limit"] = -1
        return {name: value for name, value in tunable.items() if value is not None}

    def _policy(self, queue: Queue) -> dict[str, Any] | None:
        definition = self._tunable(queue)
        if not definition:
            return None
        pattern = f"^{re.escape(queue.name)}$"
        return {"pattern": pattern, "definition": definition, "priority": _POLICY_PRIORITY, "apply-to": "queues"}

    async def _apply_policy(self, management: Management, queue: Queue) -> bool:
        policy = self._policy(queue)
        if policy is None:
            return False
        there = await management.policy(queue.name)
        if there is not None and all(there.get(key) == value for key, value in policy.items()):
            return False
        await management.set_policy(queue.name, policy)
        return True

    def _compare(self, queue: Queue, found: dict[str, Any]) -> list[str]:
        wanted, there = self.arguments(queue), found["arguments"]
        there = {"x-queue-type": found.get("type", "classic"), **there}
        return [
            f"queue {queue.name}: {name} is {there.get(name)!r}, not {wanted.get(name)!r}"
            for name in sorted({*wanted, *there})
            if wanted.get(name) != there.get(name)
        ]

    async def _is_there(self, part: Exchange | Queue) -> bool:
        channel = await self._wire.scratch_channel()
        ask = channel.exchange_declare if isinstance(part, Exchange) else channel.queue_declare
        try:
            await guarded(ask(part.name, passive=True))
        except SessionLostError as error:
            if "NOT_FOUND" in str(error):
                return False
            raise
        await guarded(channel.close())
        return True

    async def _do(self, work: Callable[[AbstractChannel], Awaitable[Any]], what: str) -> None:
        """Do one thing on a channel of its own, because a refusal closes the channel."""
        channel = await self._wire.scratch_channel()
        try:
            await guarded(work(channel))
        except SessionLostError as error:
            raise refusal(what, str(error)) from None
        await guarded(channel.close())


@asynccontextmanager
async def admin(url: str, management_url: str | None = None, *, queue_type: QueueType = "auto") -> AsyncIterator[Admin]:
    """Connect as an operator.

    Raises:
        BrokerUnavailableError: the broker or its management interface cannot be reached.
    """
    wire = Wire(lambda _: None)
    management = None
    try:
        await wire.open(url, "scheduler/operator")
        if management_url is not None:
            management = Management(management_url, vhost_of(url))
        clustered = queue_type == "auto" and management is not None and await management.is_cluster()
        if queue_type == "auto":
            queue_type = "quorum" if clustered or wire.server_version >= _QUORUM_BY_DEFAULT else "classic"
        yield Admin(wire, management, queue_type)
    except SessionLostError as error:
        raise BrokerUnavailableError(f"broker {address_of(url)} is not reachable: {error}") from None
    finally:
        if management is not None:
            await management.__aexit__(None, None, None)
        await wire.close()


async def declare(url: str, topology: Topology, management_url: str | None = None) -> list[str]:
    """See :meth:`Admin.declare`; opens and closes a connection for it."""
    async with admin(url, management_url) as operator:
        return await operator.declare(topology)


async def check(url: str, topology: Topology, management_url: str | None = None) -> list[str]:
    """See :meth:`Admin.check`."""
    async with admin(url, management_url) as operator:
        return await operator.check(topology)


async def wipe(url: str, topology: Topology) -> list[str]:
    """See :meth:`Admin.wipe`."""
    async with admin(url) as operator:
        return await operator.wipe(topology)


async def declare_exchange(exchange: Exchange, channel: AbstractChannel) -> None:
    arguments: Arguments = {} if exchange.alternate is None else {"alternate-exchange": exchange.alternate}
    await channel.exchange_declare(exchange.name, exchange_type=exchange.kind, durable=True, arguments=arguments)


async def declare_queue(queue: Queue, arguments: Arguments, channel: AbstractChannel) -> None:
    await channel.queue_declare(queue.name, durable=True, arguments=arguments)


async def bind(binding: Binding, channel: AbstractChannel) -> None:
    await channel.queue_bind(binding.queue, binding.exchange, binding.key)


async def delete(part: Exchange | Queue, channel: AbstractChannel) -> None:
    await (channel.exchange_delete(part.name) if isinstance(part, Exchange) else channel.queue_delete(part.name))


def refusal(what: str, reason: str) -> Exception:
    """Return the error for a broker's refusal, with both values where it names them."""
    if "ACCESS_REFUSED" in reason:
        return NotPermittedError(f"{what}: {reason}")
    if (found := _MISMATCH.search(reason)) is not None:
        return ConfigurationError(
            f"{what}: {found['arg']} is {found['found']} at the broker and should be {found['wanted']}; "
            "it cannot be changed, only deleted and made again (scheduler broker rebuild)"
        )
    if "PRECONDITION_FAILED" in reason or "NOT_FOUND" in reason:
        return ConfigurationError(f"{what}: {reason}")
    return BrokerUnavailableError(f"{what}: {reason}")
