"""What actors may ask of a message broker. The implementations are in scheduler/transport.

The contract, held by one suite over all implementations (tests/contract/test_transport.py):
publishing resolves after the broker has the message, delivery is at least once, what is not
settled comes back, and no order is promised after a release.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

Headers = Mapping[str, str | int | bool]


class PublishOutcome(StrEnum):
    """What is known of a published message. There is no exception for broker reasons."""

    STORED = "stored"
    REFUSED = "refused"
    """The broker said no (a queue at its limit): probably not stored."""
    UNKNOWN = "unknown"
    """The confirm was lost or did not come in time: perhaps stored."""


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


@dataclass(slots=True)
class Delivery:
    """A message in hand, to be settled exactly once: ack, release or bury.

    ``queue`` is the name the consumer was asked for. ``token`` belongs to the transport; it names
    the session the delivery came in, so that a late ack after a reconnect cannot settle another
    message. ``content_type``, ``message_id`` and ``user_id`` are None when the publisher gave none.
    """

    queue: str
    exchange: str
    key: str
    body: bytes
    message_id: str | None
    headers: Mapping[str, Any]
    redelivered: bool
    content_type: str | None
    user_id: str | None
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
        """Wait for the outcomes under way (bounded by the publish timeout), then release the channel."""
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
        """Stop; what is unsettled goes back to the queue."""
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

    @property
    def state(self) -> LinkState: ...

    @property
    def up_since(self) -> float | None:
        """Monotonic instant since when the link is up and not blocked without a break; else None."""
        ...

    def watch(self) -> AsyncIterator[LinkState]:
        """Yield the present state, then each change."""
        ...

    async def close(self) -> None: ...
