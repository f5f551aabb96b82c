"""Dispatchers that die while they decide events and publish the feed: one run for each event, and no fact skipped."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aio_pika
import pytest

from tests.support.chaos import DEADLINE_S, Stage
from tests.support.chaos_work import make_work

LEASE = "5s"
POINTS = (
    "dispatcher.before_events_recorded",
    "dispatcher.after_events_recorded",
    "dispatcher.before_event_commit",
    "dispatcher.after_event_commit",
    "actor.after_ack@scheduler.dispatcher.events",
    "feed.before_publish",
    "feed.after_confirm",
    "feed.before_commit",
    "feed.after_commit",
)
KILLS = 3
OF_A_WAVE = 3
JOBS = {
    "take": {"run": {"command": ["true"]}, "triggers": [{"event": {"topic": "orders.*"}}]},
    "after": {"run": {"command": ["true"]}, "triggers": [{"ended": {"job": "take", "state": "succeeded"}}]},
}
DECIDED = "SELECT count(*) FROM scheduler.events WHERE source = 'amqp' AND verdict = 'started'"
ENDED = "SELECT count(*) FROM scheduler.runs WHERE job_name = $1 AND state = 'succeeded' AND sweep_at IS NULL"
FACTS = """SELECT f.id || '.' || n FROM scheduler.feed, unnest(ids) WITH ORDINALITY AS f (id, place)
           ORDER BY xid, n, place"""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


class Outsider:
    """A publisher, and a reader of all of the feed."""

    def __init__(self, events: aio_pika.abc.AbstractExchange) -> None:
        self._events = events
        self.sent = 0
        self.heard: dict[str, None] = {}
        """The ids of facts, in the order in which they came first."""

    async def send(self) -> None:
        """Publish a wave: an event that says its id, twice, and two that say none and are alike."""
        self.sent += 1
        body = json.dumps({"wave": self.sent}).encode()
        for message_id in (f"m-{self.sent}", f"m-{self.sent}", None, None):
            message = aio_pika.Message(body, message_id=message_id, delivery_mode=2)
            await self._events.publish(message, "kills.orders.eu")

    async def hear(self, message: aio_pika.abc.AbstractIncomingMessage) -> None:
        fact = json.loads(message.body)
        if fact["type"] != "scheduler.feed.begins":
            self.heard.setdefault(fact["id"])

    async def heard_all(self, facts: list[str]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while len(self.heard) < len(facts):
                await asyncio.sleep(0.05)


@asynccontextmanager
async def outside(stage: Stage) -> AsyncIterator[Outsider]:
    connection = await aio_pika.connect(stage.amqp_url)
    async with connection:
        channel = await connection.channel()
        outsider = Outsider(await channel.get_exchange("scheduler.events"))
        queue = await channel.declare_queue("reader")
        await queue.bind("scheduler.feed", "#")
        await queue.consume(outsider.hear, no_ack=True)
        yield outsider


async def test_events_are_decided_once_and_the_feed_tells_all_whenever_a_dispatcher_dies(stage: Stage) -> None:
    await stage.only("dispatcher").drain()
    await stage.apply(make_work("kills", JOBS))
    async with outside(stage) as outsider:
        for point in POINTS:
            victim = stage.start("dispatcher", crash_at=point)
            await outsider.send()
            await victim.dies()
        dispatchers = [stage.start("dispatcher") for _ in range(2)]
        for _ in range(KILLS):
            await outsider.send()
            await stage.until(DECIDED, holds=lambda count: count > OF_A_WAVE * (outsider.sent - 1))
            dispatchers.pop(0).kill9()
            dispatchers.append(stage.start("dispatcher"))

        events = OF_A_WAVE * outsider.sent
        for job in JOBS:
            await stage.until(ENDED, job, holds=lambda count: count >= events)
        async with stage.database() as db:
            facts = [row[0] for row in await db.fetch(FACTS)]
            counts = await db.fetch("SELECT job_name, count(*) FROM scheduler.runs GROUP BY 1 ORDER BY 1")
            recorded = await db.fetchval("SELECT count(*) FROM scheduler.events WHERE source = 'amqp'")
        await outsider.heard_all(facts)

    assert [("after", events), ("take", events)] == [tuple(row) for row in counts]
    assert events == recorded
    assert facts == list(outsider.heard)
    assert len(facts) == 2 * events * 3, "firing.started, run.started and run.succeeded of each run"
