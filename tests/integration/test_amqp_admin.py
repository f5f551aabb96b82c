"""Declaring, checking and wiping the topology on a real broker."""

from urllib.parse import urlsplit, urlunsplit

import pytest

from scheduler.errors import BrokerUnavailableError, ConfigurationError, NotPermittedError
from scheduler.transport.amqp_admin import admin, check, declare, wipe
from scheduler.transport.topology import CONTROL, OFFERS, Binding, Queue, Topology, pool_queue, topology
from tests.conftest import GivenBroker
from tests.support.services import free_port
from tests.support.services_rabbit import RabbitNode

POOLS = {"default": 10, "gpu": 4}
Broker = RabbitNode | GivenBroker


def vhost(url: str) -> str:
    return urlsplit(url).path[1:]


async def test_what_is_missing_is_made_and_a_second_time_nothing(amqp_url: str) -> None:
    made = await declare(amqp_url, topology(POOLS))
    again = await declare(amqp_url, topology(POOLS))

    assert "exchange scheduler.offers" in made
    assert any(line.startswith("queue scheduler.executor.gpu (") for line in made)
    assert len(made) == len(topology(POOLS).exchanges) + len(topology(POOLS).queues)
    assert again == []


async def test_check_names_each_difference(amqp_url: str, rabbit: Broker) -> None:
    await declare(amqp_url, topology({"default": 10}))
    clean = await check(amqp_url, topology({"default": 10}), rabbit.management_url)

    await wipe(amqp_url, Topology((), (Queue("scheduler.recorder.claims"),), ()))
    await wipe(amqp_url, Topology(tuple(e for e in topology({}).exchanges if e.name == CONTROL), (), ()))

    short = await check(amqp_url, topology({"default": 11, "gpu": 4}))
    thorough = await check(amqp_url, topology({"default": 11, "gpu": 4}), rabbit.management_url)
    missing = ["exchange scheduler.control", "queue scheduler.recorder.claims", "queue scheduler.executor.gpu"]
    assert short == [f"{what} is missing" for what in missing]
    assert set(short) < set(thorough)
    assert any("scheduler.executor.default: x-max-length is 10" in line for line in thorough)
    assert "binding scheduler.attempts → scheduler.recorder.claims ('attempt.claim') is missing" in thorough
    assert any("scheduler.executor.default" in line for line in clean), "limits by argument differ from policies"


async def test_a_limit_by_argument_cannot_be_changed_and_both_values_are_named(amqp_url: str) -> None:
    await declare(amqp_url, topology({"default": 10}))

    with pytest.raises(ConfigurationError, match=r"queue scheduler.executor.default: x-max-length is .*10.*be .*11"):
        await declare(amqp_url, topology({"default": 11}))


async def test_a_limit_by_policy_can_be_changed(amqp_url: str, rabbit: Broker) -> None:
    await declare(amqp_url, topology({"default": 10}), rabbit.management_url)
    clean = await check(amqp_url, topology({"default": 10}), rabbit.management_url)
    changed = await declare(amqp_url, topology({"default": 11}), rabbit.management_url)
    stale = await check(amqp_url, topology({"default": 10}), rabbit.management_url)

    assert clean == []
    assert changed == ["policy scheduler.executor.default"]
    assert len(stale) == 1
    assert "policy scheduler.executor.default" in stale[0]


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
async def test_a_queue_type_that_is_asked_for_is_made(amqp_url: str, rabbit: Broker, queue_type) -> None:
    wanted = Topology(
        tuple(e for e in topology({}).exchanges if e.name in (OFFERS, "scheduler.unroutable")),
        (pool_queue("default", 5),),
        (Binding(OFFERS, "scheduler.executor.default", "default"),),
    )
    async with admin(amqp_url, rabbit.management_url, queue_type=queue_type) as operator:
        await operator.declare(wanted)
        found = await operator.management.queues()  # type: ignore[union-attr]

    assert found["scheduler.executor.default"]["arguments"] == {"x-queue-type": queue_type}


async def test_auto_is_classic_on_a_single_old_node_and_quorum_on_a_new_one(amqp_url: str, rabbit: Broker) -> None:
    async with admin(amqp_url, rabbit.management_url) as operator:
        assert operator.queue_type == ("quorum" if operator.version >= (4, 0) else "classic")


async def test_wipe_deletes_what_it_is_given_and_nothing_else(amqp_url: str) -> None:
    await declare(amqp_url, topology({"default": 10}) + Topology((), (Queue("foreign"),), ()))

    gone = await wipe(amqp_url, topology({"default": 10, "never": 1}))

    assert set(gone) == {part.name for part in (*topology({"default": 1}).queues, *topology({}).exchanges)}
    assert await check(amqp_url, Topology((), (Queue("foreign"),), ())) == []


async def test_a_user_without_the_right_is_told_so(amqp_url: str, rabbit: Broker) -> None:
    call = rabbit.management.call
    user = vhost(amqp_url)
    call("PUT", f"users/{user}", {"password": "pw", "tags": ""})
    call("PUT", f"permissions/{user}/{user}", {"configure": "^$", "write": ".*", "read": ".*"})
    parts = urlsplit(amqp_url)
    url = urlunsplit(parts._replace(netloc=f"{user}:pw@{parts.hostname}:{parts.port}"))

    with pytest.raises(NotPermittedError, match=r"exchange scheduler.unroutable: ACCESS_REFUSED"):
        await declare(url, topology({}))
    call("DELETE", f"users/{user}")


async def test_a_broker_that_is_away_is_said_in_one_line() -> None:
    port = free_port()

    with pytest.raises(BrokerUnavailableError, match=f"^broker amqp://127.0.0.1:{port}/ is not reachable: .+$"):
        await declare(f"amqp://guest:hidden@127.0.0.1:{port}/", topology({}))


async def test_a_management_url_that_is_away_is_said_in_one_line(amqp_url: str) -> None:
    with pytest.raises(BrokerUnavailableError, match=r"^management .* is not reachable"):
        await declare(amqp_url, topology({}), f"http://guest:guest@127.0.0.1:{free_port()}")
