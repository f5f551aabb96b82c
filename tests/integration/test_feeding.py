"""Publishing the feed: each fact reaches whoever has bound a queue, in order, by each broker and any number of us."""

import asyncio
import json
import random
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest

from actors.feeding import Feeding
from scheduler.clock import SystemClock
from scheduler.errors import SessionLostError
from scheduler.ports import Consumer, Out, Publisher, PublishOutcome, Transport
from scheduler.store.feed import START, take_turn
from scheduler.store.pool import connect
from scheduler.store.stores import Stores
from scheduler.transport.topology import FEED, Binding, Limits, Queue, Topology, topology
from tests.support.engine import engine
from tests.support.transports import AmqpRig, MemoryRig, Rig, take

INSERT = "INSERT INTO feed (tenant, fact, ids, job_ids) VALUES ($1, $2, $3, $3)"
DEADLINE_S = 15.0


def bound(name: str, *patterns: str, limits: Limits = Limits()) -> Topology:  # noqa: B008 - frozen
    return Topology((), (Queue(name, limits),), tuple(Binding(FEED, name, pattern) for pattern in patterns))


class World:
    """A database with facts in it, a broker, and readers."""

    def __init__(self, stack: AsyncExitStack, dsn: str, rig: Rig, transport: Transport) -> None:
        self._stack = stack
        self._dsn = dsn
        self.rig = rig
        self.transport = transport
        self.said: list[str] = []

    async def say(self, *facts: str, of: int = 1) -> None:
        """Write facts, each with ``of`` elements."""
        db = await connect(self._dsn, name="test")
        for fact in facts:
            ids = [uuid.uuid4() for _ in range(of)]
            await db.execute(INSERT, "acme", fact, ids)
            self.said += map(str, ids)
        await db.close()

    async def feeding(self, transport: Transport | None = None) -> Feeding:
        stores = await Stores.open(self._dsn, name="test", size=2)
        self._stack.push_async_callback(stores.close)
        return Feeding(stores.main, transport or self.transport, SystemClock(), 3600.0, lambda: None)

    async def drain(self, feeding: Feeding) -> None:
        """Publish until there is no more."""
        publisher = await self.transport.publisher("test")
        async with asyncio.timeout(DEADLINE_S):
            while await feeding.publish_once(publisher):
                pass
        await publisher.close()

    async def reader(self, name: str, *patterns: str, limits: Limits = Limits()) -> Consumer:  # noqa: B008 - frozen
        await self.rig.declare(bound(name, *patterns, limits=limits))
        return await self.transport.consumer(name, credit=1000, name="reader")


@pytest.fixture(params=["memory", "amqp"])
async def world(request: pytest.FixtureRequest, database_url: str) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        rig: Rig = (
            MemoryRig(stack) if request.param == "memory" else AmqpRig(stack, request.getfixturevalue("amqp_url"))
        )
        await rig.declare(topology({}))
        yield World(stack, database_url, rig, await rig.transport())


async def hear(consumer: Consumer, count: int) -> list[dict[str, Any]]:
    taken = await take(consumer, count)
    await consumer.ack(taken)
    for delivery in taken:
        assert delivery.content_type == "application/cloudevents+json"
        assert json.loads(delivery.body)["id"] == delivery.message_id
    return [{"subject": None, **json.loads(delivery.body), "key": delivery.key} for delivery in taken]


def subjects(events: Sequence[dict[str, Any]]) -> list[str]:
    """Return the ids of the runs and firings that are told of."""
    return [event["subject"] for event in events if event["subject"] is not None]


async def test_a_bound_queue_gets_every_fact_in_order(world: World) -> None:
    reader = await world.reader("all", "#")
    feeding = await world.feeding()
    await world.say("run.started", "run.failed", "firing.started", of=300)

    await world.drain(feeding)
    begins, *rest = await hear(reader, 2)
    events = rest + await hear(reader, len(world.said))  # 600 keys a question: 900 are two

    assert "scheduler.feed.begins" == begins["type"] == events[0]["type"]
    assert world.said == subjects(events[1:])
    event = events[-1]
    assert (event["specversion"], event["type"], event["key"].split(".")[:3]) == (
        "1.0", "scheduler.firing.started", ["acme", "firing", "started"])  # fmt: skip


async def test_what_happened_before_a_queue_was_bound_is_passed_over_and_nothing_after(world: World) -> None:
    feeding = await world.feeding()
    await world.say("run.started", "run.failed", of=50)
    await world.drain(feeding)
    reader = await world.reader("failures", "acme.run.failed.#")
    world.said.clear()
    await world.say("run.failed", "run.succeeded", of=20)

    await world.drain(feeding)
    begins, *events = await hear(reader, 1 + 20)

    assert "scheduler.feed.begins" == begins["type"]
    assert world.said[:20] == subjects(events)
    await world.say("run.failed")
    await world.drain(feeding)
    assert [world.said[-1]] == subjects(await hear(reader, 1))


async def test_several_publish_in_turns_and_one_that_dies_loses_nothing(world: World) -> None:
    """Each is cut off at a random point of its work, again and again; whoever is left goes on."""
    rng = random.Random(5)
    reader = await world.reader("all", "#")
    feedings = [await world.feeding() for _ in range(3)]
    heard: list[str] = []
    for _ in range(12):
        await world.say("run.started", "run.succeeded", of=rng.randint(1, 40))
        publisher = await world.transport.publisher("test")
        tasks = [asyncio.create_task(feeding.publish_once(publisher)) for feeding in feedings]
        for task in tasks:
            for _ in range(rng.randint(0, 30)):
                await asyncio.sleep(0)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await publisher.close()
    await world.drain(feedings[0])
    await world.say("run.failed")
    await world.drain(feedings[0])
    while world.said[-1] not in heard:
        heard += subjects(await hear(reader, 1))

    assert list(dict.fromkeys(heard)) == world.said


async def test_while_one_publishes_the_others_stand_aside(world: World, database_url: str) -> None:
    stores = await Stores.open(database_url, name="test", size=2)
    await world.reader("all", "#")
    feeding = await world.feeding()
    await world.say("run.failed")
    publisher = await world.transport.publisher("test")
    try:
        async with stores.main.transaction() as db:
            assert START == await take_turn(db)
            assert not await feeding.publish_once(publisher)
        assert await feeding.publish_once(publisher)
    finally:
        await publisher.close()
        await stores.close()


async def test_a_reader_whose_queue_is_full_holds_up_nobody_for_long(world: World) -> None:
    full = await world.reader("full", "#", limits=Limits(max_length=1, overflow="reject-publish"))
    await full.set_credit(0)
    reader = await world.reader("all", "#")
    feeding = await world.feeding()
    await world.say("run.failed", of=5)

    for _ in range(6):
        await world.drain(feeding)
    await world.say("run.skipped")
    for _ in range(6):
        await world.drain(feeding)
    heard: list[str] = []
    while world.said[-1] not in heard:
        heard += subjects(await hear(reader, 1))

    assert list(dict.fromkeys(heard)) == world.said


async def test_facts_of_running_actors_are_published(database_url: str) -> None:
    """In one process, with the broker in memory."""
    async with engine(database_url) as stage:
        stage.broker.declare(bound("mine", "default.run.*.hello"))
        await stage.apply(hello={"run": {"command": ["true"]}})
        await stage.fire("hello")
        await stage.settled(1)
        queue = stage.broker.queues["mine"]

        await stage.heard(lambda: len({stored.out.message_id for stored in queue.ready}) == 3)

        keys = list(dict.fromkeys(stored.out.key for stored in queue.ready))
        assert ["scheduler.feed.begins", "default.run.started.hello", "default.run.succeeded.hello"] == keys


async def test_an_outage_of_the_broker_loses_nothing(world: World) -> None:
    reader = await world.reader("all", "#")
    feeding = await world.feeding()
    loop = asyncio.create_task(feeding.publish_for_ever())
    try:
        for _ in range(3):
            await world.say("run.started", "run.failed", of=20)
            await world.rig.lose_connection(world.transport)
        await world.transport.wait_up(DEADLINE_S)
        await world.say("run.skipped")
        heard: list[str] = []
        await heard_out(reader, heard, lambda: world.said[-1] in heard)
    finally:
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)

    assert set(world.said) == set(heard)


async def heard_out(reader: Consumer, heard: list[str], done: Callable[[], bool]) -> None:
    """Hear until ``done``, over losses of the connection."""
    async with asyncio.timeout(DEADLINE_S):
        while not done():
            try:
                heard += subjects(await hear(reader, 1))
            except SessionLostError:
                continue


async def test_a_question_that_was_lost_with_its_connection_is_asked_again(world: World) -> None:
    reader = await world.reader("all", "#")
    feeding = await world.feeding()
    await world.say("run.failed")

    more = await feeding.publish_once(Losing())
    await world.drain(feeding)

    assert not more
    assert world.said == subjects(await hear(reader, 2))


async def test_facts_that_nobody_hears_cost_one_message(world: World, database_url: str) -> None:
    """Five hundred of them, of as many jobs, are one question, which comes back."""
    feeding = await world.feeding()
    publisher = await world.transport.publisher("test")
    counting = Counting(publisher)
    await world.say("run.failed", "run.skipped", of=250)

    more = await feeding.publish_once(counting)
    await publisher.close()

    assert (False, [PublishOutcome.UNROUTABLE]) == (more, counting.outcomes)
    db = await connect(database_url, name="test")
    left = await db.fetchval("SELECT count(*) FROM feed, feeding WHERE (feed.xid, feed.n) > (feeding.xid, feeding.n)")
    await db.close()
    assert 0 == left


class Losing:
    """A publisher whose connection goes before anything is confirmed."""

    def publish(self, _message: Out) -> "asyncio.Future[PublishOutcome]":
        outcome: asyncio.Future[PublishOutcome] = asyncio.get_running_loop().create_future()
        outcome.set_result(PublishOutcome.UNKNOWN)
        return outcome

    async def close(self) -> None: ...


class Counting:
    """A publisher that notes what became of each message."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self.outcomes: list[PublishOutcome] = []

    def publish(self, message: Out) -> "asyncio.Future[PublishOutcome]":
        outcome = self._publisher.publish(message)
        outcome.add_done_callback(lambda done: self.outcomes.append(done.result()))
        return outcome

    async def close(self) -> None:
        await self._publisher.close()
