"""The broker of ``memory://``: exchanges and queues in this process, with RabbitMQ's promises.

A message is copied when it is published, and reaches consumers in a later turn of the event loop:
no consumer ever runs inside a publish, and its outcome may come before or after it is delivered.
Limits count ready messages only. Ages (``ttl_s``) are not kept: what a process holds in memory
does not outlive it. Nothing here polls; an idle broker costs nothing.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, replace
from typing import Protocol

from scheduler.domain.topic import matches
from scheduler.errors import NotFoundError
from scheduler.ports import Out, PublishOutcome
from scheduler.transport.topology import Binding, Exchange, Limits, Queue, Topology


@dataclass(slots=True)
class Stored:
    """A message in a queue or in a consumer's hand."""

    out: Out
    redelivered: bool = False


class Receiver(Protocol):
    """A consumer as the broker sees it."""

    @property
    def has_room(self) -> bool: ...

    def receive(self, stored: Stored) -> None: ...

    def source_gone(self, reason: str) -> None: ...


class Member(Protocol):
    """A transport as the broker sees it."""

    def lose_connection(self, reason: str = ...) -> None: ...

    def reconnect(self) -> None: ...

    def alarm(self, *, blocked: bool) -> None: ...

    def confirm(self) -> None: ...


class MemoryQueue:
    """Ready messages and the consumers they go to in turn."""

    def __init__(self, name: str, limits: Limits) -> None:
        self.name = name
        self.limits = limits
        self.ready: deque[Stored] = deque()
        self.receivers: deque[Receiver] = deque()
        self._ready_bytes = 0

    def refuses(self, overshoot: int) -> bool:
        limit = self.limits.max_length
        return limit is not None and self.limits.overflow == "reject-publish" and len(self.ready) >= limit + overshoot

    def put(self, stored: Stored) -> None:
        self.ready.append(stored)
        self._ready_bytes += len(stored.out.body)
        while self._is_over():
            self._ready_bytes -= len(self.ready.popleft().out.body)

    def drop_one(self) -> None:
        """Take the first ready message off the queue for good."""
        self._ready_bytes -= len(self.ready.popleft().out.body)

    def put_back(self, stored: Stored, *, first: bool) -> None:
        """Take a message back; never refused, whatever the limit."""
        stored.redelivered = True
        (self.ready.appendleft if first else self.ready.append)(stored)
        self._ready_bytes += len(stored.out.body)

    def deliver(self) -> None:
        """Hand ready messages to consumers with room, one each in turn."""
        while self.ready and any(receiver.has_room for receiver in self.receivers):
            receiver = self.receivers[0]
            self.receivers.rotate(-1)
            if receiver.has_room:
                stored = self.ready.popleft()
                self._ready_bytes -= len(stored.out.body)
                receiver.receive(stored)

    def forget_transient(self) -> None:
        """Do what a restart does: transient messages go, the rest counts as delivered before."""
        self.ready = deque(stored for stored in self.ready if stored.out.persistent)
        self._ready_bytes = sum(len(stored.out.body) for stored in self.ready)
        for stored in self.ready:
            stored.redelivered = True

    def _is_over(self) -> bool:
        if self.limits.overflow != "drop-head":
            return False
        length, size = self.limits.max_length, self.limits.max_length_bytes
        return (length is not None and len(self.ready) > length) or (size is not None and self._ready_bytes > size)


class MemoryBroker:
    """One broker, shared by the transports of a process; belongs to one event loop.

    ``overshoot`` lets that many messages more than the limit into a queue that refuses, as
    quorum queues do. ``restart``, ``block`` and ``hold_confirms`` do what a broker may do to us.
    """

    def __init__(self, *, overshoot: int = 0) -> None:
        self.overshoot = overshoot
        self.blocked = False
        self.holding_confirms = False
        self.queues: dict[str, MemoryQueue] = {}
        self._exchanges: dict[str, Exchange] = {}
        self._bindings: dict[str, list[Binding]] = {}
        self._members: list[Member] = []
        self._undelivered: set[str] = set()

    def declare(self, topology: Topology) -> list[str]:
        """Make what is missing of ``topology`` and return the names of what was made.

        Limits of a queue that exists are changed to what is asked.
        """
        made = [exchange.name for exchange in topology.exchanges if exchange.name not in self._exchanges]
        self._exchanges.update({exchange.name: exchange for exchange in topology.exchanges})
        made += [queue.name for queue in topology.queues if queue.name not in self.queues]
        for queue in topology.queues:
            self.declare_queue(queue)
        for binding in topology.bindings:
            self.bind(binding)
        for member in list(self._members):
            member.reconnect()
        return made

    def has_exchange(self, name: str) -> bool:
        return name in self._exchanges

    def declare_queue(self, queue: Queue) -> None:
        self.queues.setdefault(queue.name, MemoryQueue(queue.name, queue.limits)).limits = queue.limits

    def bind(self, binding: Binding) -> None:
        """Bind once more is the same as once.

        Raises:
            NotFoundError: there is no such exchange.
        """
        if binding.exchange not in self._exchanges:
            raise NotFoundError(f"no exchange {binding.exchange}")
        bound = self._bindings.setdefault(binding.exchange, [])
        if binding not in bound:
            bound.append(binding)

    def delete_queue(self, name: str) -> None:
        """Delete a queue with what is in it; sessions that consume from it are lost."""
        queue = self.queues.pop(name, None)
        for bound in self._bindings.values():
            bound[:] = [binding for binding in bound if binding.queue != name]
        for receiver in list(queue.receivers) if queue is not None else []:
            receiver.source_gone(f"queue {name} was deleted")

    def wipe(self, topology: Topology) -> list[str]:
        """Delete the queues and exchanges of ``topology`` with all they hold; return the names of what was there."""
        gone = [queue.name for queue in topology.queues if queue.name in self.queues]
        for name in gone:
            self.delete_queue(name)
        for exchange in topology.exchanges:
            if self._exchanges.pop(exchange.name, None) is not None:
                self._bindings.pop(exchange.name, None)
                gone.append(exchange.name)
        return gone

    def restart(self) -> None:
        """Lose every session and every transient message; all that is left comes again as redelivered."""
        for member in self._members:
            member.lose_connection("the broker restarted")
        for queue in self.queues.values():
            queue.forget_transient()

    def block(self) -> None:
        """Raise an alarm: publishes wait, deliveries go on."""
        self.blocked = True
        for member in self._members:
            member.alarm(blocked=True)

    def unblock(self) -> None:
        self.blocked = False
        for member in self._members:
            member.alarm(blocked=False)

    def hold_confirms(self) -> None:
        """Store what is published but say nothing of it until ``let_confirms_go``."""
        self.holding_confirms = True

    def let_confirms_go(self) -> None:
        self.holding_confirms = False
        for member in self._members:
            member.confirm()

    def join(self, member: Member) -> None:
        self._members.append(member)

    def leave(self, member: Member) -> None:
        self._members.remove(member)

    def publish(self, out: Out) -> PublishOutcome:
        """Store ``out`` in every queue its key leads to; UNKNOWN when there is no such exchange.

        REFUSED when a queue refuses it, though others may have it.
        """
        if out.exchange not in self._exchanges:
            return PublishOutcome.UNKNOWN
        outcome = PublishOutcome.STORED
        reached = self._reached(out)
        if out.mandatory and not reached:
            return PublishOutcome.UNROUTABLE
        if "BCC" in out.headers:
            out = replace(out, headers={name: value for name, value in out.headers.items() if name != "BCC"})
        for name in reached:
            queue = self.queues[name]
            if queue.refuses(self.overshoot):
                outcome = PublishOutcome.REFUSED
            else:
                queue.put(Stored(out))
                self.deliver_soon(name)
        return outcome

    def deliver_soon(self, name: str) -> None:
        """Let queue ``name`` deliver in the next turn of the event loop."""
        if not self._undelivered:
            asyncio.get_running_loop().call_soon(self._deliver)
        self._undelivered.add(name)

    def _deliver(self) -> None:
        names, self._undelivered = sorted(self._undelivered), set()
        for name in names:
            if name in self.queues:
                self.queues[name].deliver()

    def _reached(self, out: Out) -> list[str]:
        """Return the queues for the key of a message and for those that its header BCC names."""
        more = out.headers.get("BCC")
        keys = (out.key, *(more if isinstance(more, list) else ()))
        return list(dict.fromkeys(name for key in keys for name in self._route(self._exchanges[out.exchange], key)))

    def _route(self, exchange: Exchange, key: str) -> list[str]:
        bound = self._bindings.get(exchange.name, [])
        names = [binding.queue for binding in bound if self._leads(exchange.kind, binding.key, key)]
        reached = [name for name in dict.fromkeys(names) if name in self.queues]
        if not reached and exchange.alternate in self._exchanges:
            return self._route(self._exchanges[exchange.alternate], key)
        return reached

    @staticmethod
    def _leads(kind: str, pattern: str, key: str) -> bool:
        if kind == "fanout":
            return True
        return matches(pattern, key) if kind == "topic" else pattern == key
