"""Users of the broker, each with the rights of one part and no more; as data, from what each part says and hears.

A user may publish to the exchanges of what its actor says, and consume the queues named after the actor. Nobody
may make or delete anything: ``broker declare`` does, as an operator. The one exception is the control queue of an
executor, which goes with its connection.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from scheduler.dead_letter import DEAD_LETTERS
from scheduler.transport.topology import CANARY, CONTROL, ROUTES, control_queue, executor_queue

EVENTS: Final = "scheduler.events"
FEED: Final = "scheduler.feed"

SAYS: Final[Mapping[str, Sequence[str]]] = {
    "ticker": ("firing.due",),
    "watcher": ("event.received",),
    "ingress": ("event.received",),
    "dispatcher": ("attempt.start", "attempt.cancel", "attempt.follow"),
    "executor": ("attempt.claim", "attempt.returned", "executor.heartbeat", "attempt.finished", "attempt.told"),
    "recorder": ("claim.answered", "heartbeat.recorded", "run.settled", "executor.heartbeat"),
}
"""Actor → types of the messages it publishes; the exchange of each follows from its route."""

PUBLISHES: Final[Mapping[str, Sequence[str]]] = {
    "dispatcher": (FEED,),
}
"""Actor → exchanges it publishes to beside those of ``SAYS``."""

HEARS: Final = frozenset({"dispatcher", "executor", "recorder"})
"""Actors with queues of their own; what they cannot read they bury."""

NOTHING: Final = "^$"
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


@dataclass(frozen=True, slots=True)
class TopicRight:
    """Which routing keys a user may use with one topic exchange, as a regular expression."""

    exchange: str
    write: str
    read: str


@dataclass(frozen=True, slots=True)
class BrokerUser:
    """Regular expressions of names, as RabbitMQ has them: it looks for them anywhere, so each is anchored."""

    name: str
    purpose: str
    configure: str = NOTHING
    write: str = NOTHING
    read: str = NOTHING
    topic: TopicRight | None = None


def broker_users(
    pools: Iterable[str], *, prefix: str = "scheduler", publishers: Sequence[str] = (), readers: Sequence[str] = ()
) -> list[BrokerUser]:
    """Return every user to make: one for each actor, of executors one for each pool, publishers and readers.

    A publisher named ``shop`` may publish events whose topic is ``shop`` or begins with ``shop.``; a reader named
    ``crm`` may make queues ``scheduler.feed.crm…`` and bind them to the feed. Without names there is one publisher
    of any topic, and one reader whose queues are ``scheduler.feed.…``.

    Raises:
        ValueError: a name that cannot be part of a user's name.
    """
    for name in (prefix, *publishers, *readers):
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r}: small letters, digits, - and _ are expected, at most 63")
    users = [_actor(f"{prefix}-{actor}", actor) for actor in SAYS if actor != "executor"]
    users += [_executor(f"{prefix}-executor-{pool}", pool) for pool in sorted(pools)]
    users += [_publisher("-".join((prefix, "publisher", *name)), *name) for name in _named(publishers)]
    users += [_reader("-".join((prefix, "reader", *name)), *name) for name in _named(readers)]
    return users


def exchanges_of(actor: str) -> list[str]:
    """Return the exchanges that ``actor`` publishes to, in order."""
    said = [ROUTES[message_type].exchange for message_type in SAYS[actor]]
    graves = [DEAD_LETTERS] if actor in HEARS else []
    return list(dict.fromkeys((*said, *PUBLISHES.get(actor, ()), *graves, CANARY)))


def _named(names: Sequence[str]) -> list[tuple[str, ...]]:
    return [(name,) for name in names] or [()]


def _actor(name: str, actor: str) -> BrokerUser:
    writes = [re.escape(exchange) for exchange in exchanges_of(actor)]
    if actor == "dispatcher":
        # It asks how much lies on a pool's queue. From 4.3.1 on that takes some right on the queue, and this
        # one gives nothing else: to bind the queue it would also have to read an exchange.
        writes.append(_below(executor_queue("")))
    reads = [re.escape(CANARY), *([_below(f"scheduler.{actor}.")] if actor in HEARS else [])]
    return BrokerUser(name, f"{actor}, any number of them", write=_any(writes), read=_any(reads))


def _executor(name: str, pool: str) -> BrokerUser:
    controls = _below(control_queue(""))
    writes = [*map(re.escape, exchanges_of("executor")), controls]
    reads = [re.escape(part) for part in (executor_queue(pool), CONTROL, CANARY)]
    return BrokerUser(
        name, f"executors of the pool {pool}", _any([controls]), write=_any(writes), read=_any([*reads, controls])
    )


def _publisher(name: str, topic: str | None = None) -> BrokerUser:
    keys = r"^.+$" if topic is None else rf"^{re.escape(topic)}(\..+)?$"
    purpose = "events of any topic" if topic is None else f"events of {topic} and below"
    right = TopicRight(EVENTS, keys, NOTHING)
    return BrokerUser(name, f"publishes {purpose}", write=_any([re.escape(EVENTS)]), topic=right)


def _reader(name: str, group: str | None = None) -> BrokerUser:
    prefix = FEED if group is None else f"{FEED}.{group}"
    own = _below(f"{FEED}.") if group is None else rf"{re.escape(prefix)}(\..+)?"
    return BrokerUser(
        name,
        f"reads the feed by queues of its own, {prefix}…",
        configure=_any([own]),
        write=_any([own]),
        read=_any([re.escape(FEED), own]),
        topic=TopicRight(FEED, NOTHING, "^.*$"),
    )


def _below(prefix: str) -> str:
    return rf"{re.escape(prefix)}.+"


def _any(patterns: Sequence[str]) -> str:
    return f"^{patterns[0]}$" if len(patterns) == 1 else f"^({'|'.join(patterns)})$"
