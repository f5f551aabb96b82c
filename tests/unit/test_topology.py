"""The topology as data: complete, consistent, and named as the documents say."""

import pytest

from scheduler.transport.topology import ROUTES, Limits, Topology, topology
from schemas.registry import MESSAGES

HEARD = {
    "firing.due": "scheduler.dispatcher.firings",
    "event.received": "scheduler.dispatcher.events",
    "run.settled": "scheduler.dispatcher.settled",
    "attempt.claim": "scheduler.recorder.claims",
    "attempt.finished": "scheduler.recorder.finished",
    "attempt.returned": "scheduler.recorder.finished",
    "attempt.told": "scheduler.recorder.told",
    "executor.heartbeat": "scheduler.recorder.heartbeats",
}


def queues_for(made: Topology, message_type: str, name: str | None = None) -> list[str]:
    route = ROUTES[message_type]
    return [b.queue for b in made.bindings if (b.exchange, b.key) == (route.exchange, route.key(name))]


def test_every_message_has_a_route() -> None:
    assert {message.type for message in MESSAGES} == set(ROUTES)


@pytest.mark.parametrize(("message_type", "queue"), HEARD.items())
def test_each_message_reaches_exactly_its_queue(message_type: str, queue: str) -> None:
    assert queues_for(topology({}), message_type) == [queue]
    assert queues_for(topology({}, store="acme"), message_type, "acme") == [f"{queue}.acme"]


def test_an_offer_reaches_the_queue_of_its_pool() -> None:
    made = topology({"default": 10, "gpu": 4})

    assert queues_for(made, "attempt.start", "gpu") == ["scheduler.executor.gpu"]


def test_an_offer_without_a_pool_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="named pool"):
        ROUTES["attempt.start"].key()


def test_two_stores_share_pools_and_have_queues_of_their_own() -> None:
    main, both = topology({"default": 10}), topology({"default": 10}) + topology({"default": 10}, store="acme")

    added = {queue.name for queue in both.queues} - {queue.name for queue in main.queues}

    assert added == {f"{queue}.acme" for queue in HEARD.values()}
    assert len({queue.name for queue in both.queues}) == len(both.queues)


def test_a_pool_queue_refuses_above_its_limit() -> None:
    (queue,) = [queue for queue in topology({"gpu": 4}).queues if queue.name == "scheduler.executor.gpu"]

    assert queue.limits == Limits(max_length=4, overflow="reject-publish")


def test_every_binding_names_what_is_declared() -> None:
    made = topology({"default": 10}, store="acme")
    exchanges, queues = {e.name for e in made.exchanges}, {q.name for q in made.queues}

    assert {b.exchange for b in made.bindings} <= exchanges
    assert {b.queue for b in made.bindings} == queues
    assert {e.alternate for e in made.exchanges if e.alternate} <= exchanges
    assert {route.exchange for route in ROUTES.values()} <= exchanges
