"""From a URL to a transport."""

import random

from scheduler.clock import Clock
from scheduler.errors import ConfigurationError
from scheduler.ports import Transport
from scheduler.transport.amqp import AmqpTransport
from scheduler.transport.memory import MemoryBroker, MemoryTransport


def open_transport(
    url: str, *, actor: str, clock: Clock, rng: random.Random, broker: MemoryBroker | None = None
) -> Transport:
    """Return a transport that is not started yet; ``actor`` names its connections at the broker.

    ``memory://`` needs the process's ``broker``. Whether the URL is safe is checked elsewhere,
    once at start-up (:func:`scheduler.transport.broker_url.check_broker_url`).

    Raises:
        ConfigurationError: a URL that means no broker, or ``memory://`` without one.
    """
    if url.startswith("memory:"):
        if broker is None:
            raise ConfigurationError("memory:// lives in one process: it cannot be reached from this one")
        return MemoryTransport(broker, clock, rng)
    return AmqpTransport(url, actor=actor, clock=clock, rng=rng)
