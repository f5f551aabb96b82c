"""Rights at the broker follow from the topology: nothing that is said or heard is forgotten, nothing is left open."""

import importlib.util
import re

import pytest

from scheduler.dead_letter import DEAD_LETTERS
from scheduler.transport.broker_users import (
    EVENTS,
    FEED,
    HEARS,
    PUBLISHES,
    SAYS,
    BrokerUser,
    broker_users,
    exchanges_of,
)
from scheduler.transport.topology import CANARY, EXCHANGES, ROUTES, UNROUTABLE, topology

USERS = {user.name.removeprefix("scheduler-"): user for user in broker_users(["default", "gpu"])}
MADE_BY_OTHERS = {"executor-default", "executor-gpu", "reader"}
"""Users with queues that ``broker declare`` does not make."""


def patterns(user: BrokerUser) -> list[str]:
    topic = [] if user.topic is None else [user.topic.write, user.topic.read]
    return [user.configure, user.write, user.read, *topic]


def who(right: str, name: str) -> set[str]:
    return {part for part, user in USERS.items() if re.search(getattr(user, right), name)}


def test_every_route_has_somebody_who_says_it() -> None:
    said = {message_type for types in SAYS.values() for message_type in types}

    assert said <= set(ROUTES)
    assert set(ROUTES) - said <= {"event.received"}, "said by the sources that are processes of their own"


@pytest.mark.parametrize("actor", SAYS)
def test_an_actor_says_what_its_module_says_it_says(actor: str) -> None:
    """Of actors that are not built yet there is nothing to compare."""
    if importlib.util.find_spec(f"actors.{actor}") is None:
        assert () == tuple(SAYS[actor])
        return
    text = importlib.import_module(f"actors.{actor}").__doc__ or ""
    said = re.search(r"^Says +(.+(?:\n        .+)*)", text, re.MULTILINE)

    assert said is not None
    assert set(SAYS[actor]) == set(re.findall(r"[a-z]+\.[a-z]+", said[1]))


def test_every_exchange_has_somebody_who_writes_to_it_and_only_the_broker_to_the_unroutable() -> None:
    written = {exchange for actor in SAYS for exchange in exchanges_of(actor)}

    assert {exchange.name for exchange in EXCHANGES} - {UNROUTABLE, FEED, EVENTS} <= written
    assert who("write", EVENTS) == {"publisher"}
    assert set() == who("write", UNROUTABLE)


def test_every_queue_has_exactly_its_readers() -> None:
    for queue in (topology({"default": 1, "gpu": 1}) + topology({}, store="acme")).queues:
        part = queue.name.split(".")[1]
        if queue.name == CANARY:
            assert who("read", queue.name) == USERS.keys() - {"publisher", "reader"}
        elif part in HEARS - {"executor"}:
            assert who("read", queue.name) == {part}
        elif part == "executor":
            assert who("read", queue.name) == {f"executor-{queue.name.split('.')[2]}"}
        else:
            assert who("read", queue.name) == set(), "people only"


def test_nobody_may_make_what_is_declared() -> None:
    made = topology({"default": 1, "gpu": 1})

    assert set() == {who_may for part in (*made.exchanges, *made.queues) for who_may in who("configure", part.name)}
    assert {part for part, user in USERS.items() if user.configure != "^$"} == MADE_BY_OTHERS


@pytest.mark.parametrize("part", USERS)
def test_patterns_are_anchored_as_a_whole(part: str) -> None:
    for pattern in patterns(USERS[part]):
        assert re.fullmatch(r"\^(\(.*\)|[^|]*)\$", pattern), pattern


def test_a_name_that_only_looks_alike_is_another() -> None:
    assert {"executor-gpu"} == who("read", "scheduler.executor.gpu")
    for name in ("scheduler.executor.gpu2", "xscheduler.executor.gpu", "schedulerXexecutor.gpu", "scheduler.control.a"):
        assert "ticker" not in who("read", name)
    assert set() == who("read", "scheduler.executor.gpu2")
    assert set() == who("write", "scheduler.firingsx") | who("write", "schedulerXfirings")
    assert set() == who("write", "amq.default") | who("read", "amq.default") | who("configure", "amq.default")


def test_who_hears_may_bury_and_who_does_not_may_not() -> None:
    assert who("write", DEAD_LETTERS) == {"dispatcher", "recorder", "executor-default", "executor-gpu"}


def test_events_come_from_outside_and_go_to_the_dispatcher() -> None:
    sources = {part for part, exchanges in PUBLISHES.items() if EVENTS in exchanges}

    assert who("write", EVENTS) == {"publisher", *sources}
    assert set() == {actor for actor in SAYS for exchange in exchanges_of(actor) if exchange == EVENTS} - sources


def test_only_the_dispatcher_writes_the_feed() -> None:
    assert {"dispatcher"} == who("write", FEED)


def test_publishers_and_readers_have_names_and_what_is_below_them() -> None:
    shop, crm = [u for u in broker_users([], publishers=["shop"], readers=["crm"]) if u.name[-4:] in ("shop", "-crm")]

    assert shop.topic is not None
    keys = {key for key in ("shop", "shop.order.paid", "shopping.x", "a.shop.b") if re.search(shop.topic.write, key)}
    queues = {name for name in (f"{FEED}.crm", f"{FEED}.crm.a", f"{FEED}.erp") if re.search(crm.read, name)}
    assert keys == {"shop", "shop.order.paid"}
    assert queues == {f"{FEED}.crm", f"{FEED}.crm.a"}
    assert not re.search(crm.configure, FEED)


@pytest.mark.parametrize("name", ["", "Shop", "a b", "$(id)", "x" * 64, "a\n"])
def test_a_name_that_a_shell_or_a_pattern_would_mistake_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="small letters"):
        broker_users([], publishers=[name])
