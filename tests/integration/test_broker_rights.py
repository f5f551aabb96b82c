"""Least privilege at a real broker: each actor works as its user, and is refused everything else."""

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import aiormq
import pytest
from aiormq.abc import AbstractChannel, AbstractConnection

from scheduler.transport.amqp_admin import declare
from scheduler.transport.broker_url import vhost_of
from scheduler.transport.topology import Exchange, Topology, topology
from tests.conftest import GivenBroker
from tests.support.cli import Cli, end, status, until
from tests.support.services import free_port
from tests.support.services_rabbit import RabbitNode

POOLS = {"default": 100, "gpu": 100}
EVENTS, FEED, CANARY, DEAD = "scheduler.events", "scheduler.feed", "scheduler.canary", "scheduler.dead-letters"
_DECLARED = {exchange.name for exchange in topology({}).exchanges}
PARTS = topology(POOLS) + Topology(tuple(Exchange(n, "topic") for n in (EVENTS, FEED) if n not in _DECLARED), (), ())

PUBLISH: Mapping[str, set[str]] = {
    "ticker": {"scheduler.firings", CANARY},
    "watcher": {"scheduler.firings", CANARY},
    "ingress": {"scheduler.firings", CANARY},
    "dispatcher": {"scheduler.offers", "scheduler.control", FEED, DEAD, CANARY},
    "executor-default": {"scheduler.attempts", DEAD, CANARY},
    "executor-gpu": {"scheduler.attempts", DEAD, CANARY},
    "recorder": {"scheduler.control", "scheduler.settled", "scheduler.attempts", DEAD, CANARY},
    "publisher": {EVENTS},
    "publisher-shop": {EVENTS},
    "reader": set(),
}
"""What each may publish to, written down here once more: a right that changes has to be changed in two places."""
ALSO_EXCHANGES = {DEAD, CANARY}
"""A right to publish to an exchange is one to bind the queue of the same name; what an executor may read of the
control exchange it could then copy there, which gives it nothing that it has not by its own control queue."""
CONSUMED = {"dispatcher": "scheduler.dispatcher.", "recorder": "scheduler.recorder."}


def may_consume(part: str, queue: str) -> bool:
    if queue == CANARY:
        return not part.startswith(("publisher", "reader"))
    if part.startswith("executor-"):
        return queue == f"scheduler.executor.{part.removeprefix('executor-')}"
    return part in CONSUMED and queue.startswith(CONSUMED[part])


@dataclass(frozen=True)
class Place:
    """A vhost with users in it."""

    url: str
    rabbit: RabbitNode | GivenBroker
    prefix: str
    passwords: Mapping[str, str]

    def url_of(self, part: str) -> str:
        parts = urlsplit(self.url)
        user = f"{self.prefix}-{part}"
        return urlunsplit(parts._replace(netloc=f"{user}:{self.passwords[user]}@{parts.hostname}:{parts.port}"))


@pytest.fixture
def cli(tmp_path: Path, amqp_url: str, rabbit: RabbitNode | GivenBroker) -> Cli:
    made = Cli(tmp_path)
    made.environment |= {"AMQP_URL": amqp_url, "SCHEDULER_MANAGEMENT_URL": rabbit.management_url}
    return made


@pytest.fixture
def place(cli: Cli, amqp_url: str, rabbit: RabbitNode | GivenBroker) -> Iterator[Place]:
    prefix = vhost_of(amqp_url)
    asked = ("users", "--apply", "--prefix", prefix, "--pool", "default", "--pool", "gpu")
    passwords = {}
    for more in ((), ("--publisher", "shop")):
        made = cli.json("broker", *asked, *more)["users"]
        passwords |= {user["name"]: user["password"] for user in made if user["made"]}
    yield Place(amqp_url, rabbit, prefix, passwords)
    for user in passwords:
        rabbit.management.call("DELETE", f"users/{user}")


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[AbstractConnection]:
    link = await aiormq.connect(url)
    try:
        yield link
    finally:
        await link.close()


async def refused(link: AbstractConnection, work: Callable[[AbstractChannel], object]) -> bool:
    """Whether the broker closes the channel over ``work`` because the user may not."""
    channel = await link.channel()
    try:
        await work(channel)  # type: ignore[misc]
    except aiormq.exceptions.ChannelAccessRefused:
        return True
    await channel.close()
    return False


@pytest.mark.parametrize("part", PUBLISH)
async def test_each_user_is_refused_all_that_is_not_its_own(place: Place, part: str) -> None:
    await declare(place.url, PARTS)
    exchanges, queues = {exchange.name for exchange in PARTS.exchanges}, [queue.name for queue in PARTS.queues]
    async with connected(place.url_of(part)) as link:
        published = {
            exchange
            for exchange in (*exchanges, "", "amq.topic", "amq.fanout")
            if not await refused(link, lambda c, e=exchange: c.basic_publish(b"{}", exchange=e, routing_key="shop.x"))
        }
        consumed = {queue for queue in queues if not await refused(link, lambda c, q=queue: c.basic_get(q))}
        purged = {queue for queue in queues if not await refused(link, lambda c, q=queue: c.queue_purge(q))}
        assert published == PUBLISH[part]
        assert consumed == purged == {queue for queue in queues if may_consume(part, queue)}
        for queue in queues:
            assert await refused(link, lambda c, q=queue: c.queue_delete(q)), queue
            bind = lambda c, q=queue: c.queue_bind(q, "scheduler.control", "x")  # noqa: E731
            assert await refused(link, bind) != (part.startswith("executor-") and queue in ALSO_EXCHANGES), queue
        for exchange in exchanges:
            assert await refused(link, lambda c, e=exchange: c.exchange_delete(e)), exchange
        for name in ("mine", "", "scheduler.recorder.mine", "scheduler.executor.mine"):
            assert await refused(link, lambda c, n=name: c.queue_declare(n)), name
        assert await refused(link, lambda c: c.exchange_declare("mine"))


async def test_a_publisher_is_held_to_its_topics_and_a_reader_to_its_queues(place: Place) -> None:
    await declare(place.url, PARTS)
    async with connected(place.url_of("publisher-shop")) as link:
        for key, no in (("shop", False), ("shop.paid", False), ("shopping", True), ("bank.paid", True), ("", True)):
            may_not = await refused(link, lambda c, k=key: c.basic_publish(b"{}", exchange=EVENTS, routing_key=k))
            assert may_not == no, key
    async with connected(place.url_of("reader")) as link:
        own = f"{FEED}.crm"
        for step in (
            lambda c: c.queue_declare(own, durable=True),
            lambda c: c.queue_bind(own, FEED, "#"),
            lambda c: c.basic_get(own),
            lambda c: c.queue_delete(own),
        ):
            assert not await refused(link, step)
        for other in (lambda c: c.queue_bind(own, EVENTS, "#"), lambda c: c.basic_publish(b"", exchange=FEED)):
            assert await refused(link, other)


async def test_an_executor_has_a_control_queue_and_no_other(place: Place) -> None:
    await declare(place.url, PARTS)
    async with connected(place.url_of("executor-gpu")) as link:
        channel = await link.channel()
        await channel.queue_declare("scheduler.control.host-1", exclusive=True, auto_delete=True)
        await channel.queue_bind("scheduler.control.host-1", "scheduler.control", "host-1")
        for exchange in ("scheduler.offers", "scheduler.attempts", CANARY):
            bind = lambda c, e=exchange: c.queue_bind("scheduler.control.host-1", e, "gpu")  # noqa: E731
            assert await refused(link, bind) == (exchange != CANARY), exchange


async def test_a_message_under_the_name_of_another_is_refused(place: Place) -> None:
    await declare(place.url, PARTS)
    forged = aiormq.spec.Basic.Properties(user_id=f"{place.prefix}-recorder")
    async with connected(place.url_of("executor-gpu")) as link:
        channel = await link.channel()
        with pytest.raises(aiormq.exceptions.ChannelPreconditionFailed):
            await channel.basic_publish(b"{}", exchange="scheduler.attempts", properties=forged)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_actors_work_as_their_users(place: Place, cli: Cli, database_url: str) -> None:
    """From trigger to end, with a cancel and a second pool's queue beside; ready means that messages pass."""
    cli.environment["DATABASE_URL"] = database_url
    (cli.folder / "jobs.yaml").write_text(
        'version: 1\njobs:\n  greet: {run: {command: ["true"]}, triggers: [{every: 1s}]}\n'
        '  long: {run: {command: [sleep, "60"]}}\n'
    )
    cli("broker", "declare")
    cli("apply", "jobs.yaml")
    ports, processes = {}, []
    for actor in ("ticker", "dispatcher", "recorder", "executor"):
        cli.environment["AMQP_URL"] = place.url_of("executor-default" if actor == "executor" else actor)
        ports[actor] = free_port()
        processes.append(cli.begin("start", actor, "--probe-port", str(ports[actor])))
    try:
        for actor, port in ports.items():
            until(lambda port=port: status(port, "/readyz") == 200, f"{actor} ready")
        until(lambda: len(cli.json("runs", "--job", "greet", "--state", "succeeded")["runs"]) >= 2, "two runs")
        run = cli.json("trigger", "long")["firings"][0]["run"] or ""
        run = until(lambda: [r["id"] for r in cli.json("runs", "--job", "long", "--state", "running")["runs"]], run)[0]
        cli("run", "cancel", run)
        until(lambda: cli.json("run", "show", run)["state"] == "cancelled", "the cancel")
    finally:
        codes = [end(process) for process in processes]
    assert codes == [0, 0, 0, 0]
    refusals = [path.name for path in cli.folder.glob("*.log") if "ACCESS_REFUSED" in path.read_text()]
    assert [] == refusals
