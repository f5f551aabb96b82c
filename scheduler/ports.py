"""What actors may ask of the world: a message broker (scheduler/transport) and a sandbox (scheduler/sandbox).

All brokers pass one suite, tests/contract/test_transport.py: a confirmed message is stored, and comes at least once.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from scheduler.voice import Voice
from schemas.facts import Output, Usage
from schemas.vocabulary import Outcome
from schemas.work import WorkOrder

Headers = Mapping[str, str | int | bool | list[str]]


class PublishOutcome(StrEnum):
    """What is known of a published message. There is no exception for broker reasons."""

    STORED = "stored"
    REFUSED = "refused"
    """The broker said no (a queue at its limit): probably not stored."""
    UNKNOWN = "unknown"
    """The confirm was lost or did not come in time: perhaps stored."""
    UNROUTABLE = "unroutable"
    """No queue took it; told of a message that is ``mandatory``, and has a ``message_id``."""


class LinkState(StrEnum):
    """How the link to the broker stands."""

    DOWN = "down"
    UP = "up"
    BLOCKED = "blocked"
    """The broker raised an alarm: publishes wait, deliveries still come."""


@dataclass(frozen=True, slots=True)
class Out:
    """A message to publish. ``persistent=False`` only for what is worthless after a restart."""

    exchange: str
    key: str
    body: bytes
    message_id: str | None = None
    headers: Headers = field(default_factory=dict)
    persistent: bool = True
    content_type: str | None = "application/json"
    mandatory: bool = False


@dataclass(slots=True)
class Delivery:
    """A message in hand, to be settled exactly once: ack, release or bury.

    ``queue`` is the name the consumer was asked for. ``token``, the transport's, names the session it came in: a late
    ack cannot settle another message. What a publisher did not give is None; ``headers`` are
    its own, however often the message comes. ``sender``: its user id, else its app id.
    """

    queue: str
    exchange: str
    key: str
    body: bytes
    message_id: str | None
    headers: Mapping[str, Any]
    redelivered: bool
    content_type: str | None
    sender: str | None
    token: object


class Publisher(Protocol):
    """An ordered way out. Messages enqueue in call order; the buffer is bounded, and waits when full."""

    def publish(self, message: Out) -> "asyncio.Future[PublishOutcome]":
        """Enqueue and return the outcome to come. Never raises for broker reasons.

        While the link is down a message waits for it up to the publish timeout (10 s), then
        resolves to UNKNOWN.
        """
        ...

    async def close(self) -> None:
        """Wait for the outcomes under way (at most the publish timeout), then release the channel; also twice."""
        ...


class Consumer(Protocol):
    """Deliveries of one queue, in batches, with explicit credit."""

    async def take(self, limit: int) -> list[Delivery]:
        """Return 1 to ``limit`` deliveries, waiting only for the first; [] only after close().

        Raises:
            SessionLostError: once after each lost session; what was in hand will come again.
        """
        ...

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Settle as done. A delivery of a lost session, or one settled before, is ignored."""
        ...

    async def release(self, deliveries: Sequence[Delivery]) -> None:
        """Give back to the queue; they come again, redelivered."""
        ...

    async def bury(self, deliveries: Sequence[Delivery], reason: str) -> None:
        """Copy to the dead letters with the reason (headers ``x-reason``, ``x-origin-queue``), then ack.

        If the copy is not confirmed the delivery is released instead.
        """
        ...

    async def set_credit(self, credit: int) -> None:
        """Allow at most ``credit`` unsettled deliveries; 0 pauses and releases what was not taken."""
        ...

    async def close(self) -> None:
        """Stop; what is unsettled goes back to the queue; also twice."""
        ...


class CrashBook(Protocol):
    """Where a reader notes what it has in hand, so that its successor knows what it ended over."""

    async def note(self, digest: bytes, queue: str) -> int:
        """Note that a message is taken in hand; return how many notes of it there were.

        Raises:
            TransientError: it cannot be noted now.
        """
        ...

    async def forget(self, digest: bytes) -> None:
        """Take back every note of a message: whoever has it in hand lived through it.

        Raises:
            TransientError: the notes stay.
        """
        ...


class Transport(Protocol):
    """A link to a broker that keeps itself up."""

    async def start(self) -> None:
        """Begin to connect; returns at once. Use ``wait_up`` or ``watch`` to learn when."""
        ...

    async def wait_up(self, timeout_s: float) -> None:
        """Return when the link is up.

        Raises:
            BrokerUnavailableError: not up within ``timeout_s``; says the address and the reason.
        """
        ...

    async def publisher(self, name: str) -> Publisher: ...

    async def consumer(self, queue: str, *, credit: int, name: str) -> Consumer:
        """Return a consumer that survives reconnects. ``name`` is its consumer tag's prefix."""
        ...

    async def declare_control(self, executor: str) -> str:
        """Make (again after each reconnect) the exclusive control queue of an executor; return its name."""
        ...

    async def depth(self, queue: str) -> tuple[int, int]:
        """Return (ready messages, consumers) of a queue; a hint, old at once."""
        ...

    async def send_canary(self) -> float:
        """Send a message through a queue and back; return the seconds that took.

        Raises:
            BrokerUnavailableError: the link is not up, or nothing came back within 1.5 s.
        """
        ...

    @property
    def state(self) -> LinkState: ...

    @property
    def trouble(self) -> str:
        """One line, while the link is down: the address, and why it was not reached the last time."""
        ...

    @property
    def up_since(self) -> float | None:
        """Monotonic instant since when the link is up and not blocked without a break; else None."""
        ...

    def watch(self) -> AsyncIterator[LinkState]:
        """Yield the present state, then each change."""

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class AttemptContext:
    """Which attempt a job's code runs for; told as ``SCHEDULER_*`` variables. ``traceparent``: given to its flow."""

    tenant: str
    run_id: UUID
    attempt: int
    lease_token: UUID
    traceparent: str | None = None
    voice: Voice = field(default_factory=Voice, compare=False)


@dataclass(frozen=True, slots=True)
class Ended:
    """How one attempt ended, as far as its executor can know. The fields are those of AttemptFinished."""

    outcome: Outcome
    reason: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    http_status: int | None = None
    exception: str | None = None
    exception_bases: tuple[str, ...] = ()
    retry_after_s: float | None = None
    result: Any = None
    output: Output | None = None
    usage: Usage | None = None
    metrics: Mapping[str, float] | None = None


class StopRequest:
    """The executor's wish that one attempt stops. Belongs to one event loop; not for other threads."""

    __slots__ = ("_listener", "at_once", "reason")

    def __init__(self) -> None:
        self.reason: str | None = None
        """Why; None while nobody asked."""
        self.at_once = False
        """Kill without the grace: the lease is lost, or the executor stops now."""
        self._listener: Callable[[], None] | None = None

    def request(self, reason: str, *, at_once: bool = False) -> None:
        """Ask. The first reason stays; a later call can only turn asking into killing."""
        if self.reason is not None and not (at_once and not self.at_once):
            return
        self.reason = self.reason or reason
        self.at_once = self.at_once or at_once
        if self._listener is not None:
            self._listener()

    def listen(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` when asked, at once if somebody asked before. One listener: the sandbox."""
        self._listener = listener
        if self.reason is not None:
            listener()


@dataclass(frozen=True, slots=True)
class InlineStart:
    """One attempt to start with many others: an order for which ``Sandbox.is_inline`` is true."""

    order: WorkOrder
    context: AttemptContext
    stop: StopRequest


InlineDone = Callable[[list[tuple[InlineStart, Ended]]], None]


class Sandbox(Protocol):
    """What really runs jobs on this host."""

    @property
    def handlers(self) -> tuple[str, ...]:
        """Names of the handlers registered here, sorted."""
        ...

    async def start(self) -> None: ...

    async def run(self, order: WorkOrder, context: AttemptContext, stop: StopRequest) -> Ended:
        """Run one attempt to its end. Raises nothing but CancelledError, and that after the job is killed."""
        ...

    def is_inline(self, order: WorkOrder) -> bool:
        """Whether ``start_inline`` may be used: an async handler in this process, without secrets."""
        ...

    def start_inline(self, starts: Sequence[InlineStart], on_done: InlineDone) -> None:
        """Start many; ``on_done`` gets the end of each exactly once, in batches, on this loop. Else as ``run``."""
        ...

    async def close(self) -> None:
        """Kill what is left; what ``start_inline`` began is reported as cancelled before it returns."""
        ...
