"""Exchanges, queues and bindings as data. ``broker declare`` makes them; actors only check.

The one exception is the control queue of an executor (``scheduler.control.<executor>``): it is
exclusive to the executor's connection and goes with it, so the executor declares it itself.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from scheduler.dead_letter import DEAD_LETTERS

EVENTS: Final = "scheduler.events"
FIRINGS: Final = "scheduler.firings"
OFFERS: Final = "scheduler.offers"
ATTEMPTS: Final = "scheduler.attempts"
SETTLED: Final = "scheduler.settled"
CONTROL: Final = "scheduler.control"
HEARTBEATS: Final = "scheduler.recorder.heartbeats"
FEED: Final = "scheduler.feed"
"""Open to readers: a topic exchange that anybody may bind a queue to."""
UNROUTABLE: Final = "scheduler.unroutable"
CANARY: Final = "scheduler.canary"

DISPATCHER_EVENTS: Final = "scheduler.dispatcher.events"

_GIB: Final = 1024**3
_HOUR_S: Final = 3600
_DAY_S: Final = 24 * _HOUR_S


@dataclass(frozen=True, slots=True)
class Exchange:
    """``alternate`` names the exchange that takes what no binding matches; None: it is dropped."""

    name: str
    kind: Literal["direct", "topic", "fanout"]
    alternate: str | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a queue may hold; ``max_length`` counts messages that are ready, not those in hand.

    ``overflow`` decides who yields at the limit: the new message (its publisher hears REFUSED)
    or the oldest one. ``ttl_s`` is the longest a message stays, in seconds.
    """

    max_length: int | None = None
    max_length_bytes: int | None = None
    ttl_s: int | None = None
    overflow: Literal["reject-publish", "drop-head"] = "drop-head"


@dataclass(frozen=True, slots=True)
class Queue:
    """A durable queue. ``dead_letters``: what the broker itself gives up goes to the dead letters."""

    name: str
    limits: Limits = Limits()
    dead_letters: bool = False


@dataclass(frozen=True, slots=True)
class Binding:
    exchange: str
    queue: str
    key: str = ""


@dataclass(frozen=True, slots=True)
class Topology:
    exchanges: tuple[Exchange, ...]
    queues: tuple[Queue, ...]
    bindings: tuple[Binding, ...]

    def __add__(self, other: "Topology") -> "Topology":
        """Return both together, what they share once."""
        return Topology(
            tuple(dict.fromkeys(self.exchanges + other.exchanges)),
            tuple(dict.fromkeys(self.queues + other.queues)),
            tuple(dict.fromkeys(self.bindings + other.bindings)),
        )


@dataclass(frozen=True, slots=True)
class Route:
    """Where messages of one type are published.

    ``per`` says what the routing key names besides the type: nothing but the store (dispatcher
    and recorder queues), the pool, or the executor.
    """

    exchange: str
    message_type: str
    per: Literal["store", "pool", "executor"]

    def key(self, name: str | None = None) -> str:
        """Return the routing key; ``name`` is the store (None: the main one), pool or executor.

        Raises:
            ValueError: a pool or an executor is needed and not given.
        """
        if self.per == "store":
            return suffixed(self.message_type, name)
        if not name:
            raise ValueError(f"{self.message_type} is addressed to a named {self.per}")
        return name


def suffixed(name: str, store: str | None) -> str:
    """Return a queue name or key for ``store``; the main store (None) has no suffix."""
    return name if store is None else f"{name}.{store}"


def executor_queue(pool: str) -> str:
    return f"scheduler.executor.{pool}"


def control_queue(executor: str) -> str:
    return f"scheduler.control.{executor}"


ROUTES: Final[Mapping[str, Route]] = {
    route.message_type: route
    for route in (
        Route(FIRINGS, "firing.due", "store"),
        Route(FIRINGS, "event.received", "store"),
        Route(OFFERS, "attempt.start", "pool"),
        Route(ATTEMPTS, "attempt.claim", "store"),
        Route(ATTEMPTS, "attempt.finished", "store"),
        Route(ATTEMPTS, "attempt.returned", "store"),
        Route(ATTEMPTS, "attempt.told", "store"),
        Route(ATTEMPTS, "executor.heartbeat", "store"),
        Route(SETTLED, "run.settled", "store"),
        Route(CONTROL, "attempt.cancel", "executor"),
        Route(CONTROL, "attempt.follow", "executor"),
        Route(CONTROL, "claim.answered", "executor"),
        Route(CONTROL, "heartbeat.recorded", "executor"),
    )
}

EXCHANGES: Final = (
    Exchange(UNROUTABLE, "fanout"),
    Exchange(DEAD_LETTERS, "fanout"),
    # No alternate: whatever its key, the Dispatcher's queue takes it.
    Exchange(EVENTS, "topic"),
    Exchange(FIRINGS, "direct", alternate=UNROUTABLE),
    Exchange(OFFERS, "direct", alternate=UNROUTABLE),
    Exchange(ATTEMPTS, "direct", alternate=UNROUTABLE),
    Exchange(SETTLED, "direct", alternate=UNROUTABLE),
    Exchange(CANARY, "fanout"),
    # No alternate: what nobody has bound a queue for is in the database.
    Exchange(FEED, "topic"),
    # No alternate: an answer to an executor that is gone is of no use to anybody.
    Exchange(CONTROL, "direct"),
)

_KEPT_FOR_PEOPLE: Final = Limits(max_length_bytes=_GIB, ttl_s=14 * _DAY_S)
_PEOPLE_QUEUES: Final = (Queue(UNROUTABLE, _KEPT_FOR_PEOPLE), Queue(DEAD_LETTERS, _KEPT_FOR_PEOPLE))
# Whoever wants to know whether messages pass puts one in and takes one out.
_CANARY_QUEUE: Final = Queue(CANARY, Limits(max_length=1000, ttl_s=60))

# A run that is settled and a heartbeat are said again, so the oldest may go; nothing else may.
_STORE_QUEUES: Final[tuple[tuple[Queue, tuple[str, ...]], ...]] = (
    (Queue("scheduler.dispatcher.firings", dead_letters=True), ("firing.due",)),
    (Queue(DISPATCHER_EVENTS, dead_letters=True), ("event.received",)),
    (Queue("scheduler.dispatcher.settled", Limits(max_length=10_000, ttl_s=_HOUR_S)), ("run.settled",)),
    (Queue("scheduler.recorder.claims", dead_letters=True), ("attempt.claim",)),
    (Queue(HEARTBEATS, Limits(max_length=50_000, ttl_s=120)), ("executor.heartbeat",)),
    (Queue("scheduler.recorder.finished", dead_letters=True), ("attempt.finished", "attempt.returned")),
    # What is told of a running attempt is for who looks now: it may go at any time.
    (Queue("scheduler.recorder.told", Limits(max_length=10_000, ttl_s=30)), ("attempt.told",)),
)


def store_queues() -> tuple[str, ...]:
    """Return the names of the queues that each store has, without its suffix."""
    return tuple(queue.name for queue, _ in _STORE_QUEUES)


def pool_queue(pool: str, queue_limit: int) -> Queue:
    """Return the queue of an executor pool; a publish above ``queue_limit`` ready offers is refused."""
    return Queue(executor_queue(pool), Limits(max_length=queue_limit, overflow="reject-publish"), dead_letters=True)


def topology_of(pools: Mapping[str, int], stores: Iterable[str]) -> Topology:
    """Return everything to declare for ``pools``, the main store and all others."""
    parts = topology(pools)
    for store in sorted(stores):
        parts += topology({}, store)
    return parts


def topology(pools: Mapping[str, int], store: str | None = None) -> Topology:
    """Return everything to declare for ``pools`` (name → queue limit) and one ``store``.

    A store other than the main one (None) has dispatcher and recorder queues of its own, named
    with the suffix ``.<store>``; add the topologies of several stores together. What publishers send
    goes to the main one's Dispatchers, whoever it is for.
    """
    queues = [*_PEOPLE_QUEUES, _CANARY_QUEUE]
    bindings = [Binding(name, name) for name in (UNROUTABLE, DEAD_LETTERS, CANARY)]
    for queue, message_types in _STORE_QUEUES:
        queues.append(replace(queue, name=suffixed(queue.name, store)))
        routes = [ROUTES[message_type] for message_type in message_types]
        bindings += [Binding(route.exchange, queues[-1].name, route.key(store)) for route in routes]
        if store is not None and queue.name == HEARTBEATS:  # every store hears which executors live
            bindings.append(Binding(ATTEMPTS, queues[-1].name, "executor.heartbeat"))
    if store is None:
        bindings.append(Binding(EVENTS, DISPATCHER_EVENTS, "#"))
    for pool, queue_limit in pools.items():
        queues.append(pool_queue(pool, queue_limit))
        bindings.append(Binding(OFFERS, executor_queue(pool), pool))
    return Topology(EXCHANGES, tuple(queues), tuple(bindings))
