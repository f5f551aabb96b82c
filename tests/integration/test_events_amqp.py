"""Events through a real broker: what publishers and people send, and what an operator sees of it."""

import asyncio
import contextlib
import itertools
import json
import random
import struct
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote, urlsplit

import aio_pika
import asyncpg
import pytest

from actors.dispatcher import Dispatcher, DispatchSettings
from scheduler.clock import SystemClock
from scheduler.definitions.model import Definitions
from scheduler.domain.topic import matches
from scheduler.store.definitions import apply
from scheduler.store.pool import connect
from scheduler.store.stores import Stores
from scheduler.transport.amqp import AmqpTransport
from scheduler.transport.amqp_admin import declare
from scheduler.transport.amqp_frames import content, publish_method
from scheduler.transport.amqp_wire import Wire
from scheduler.transport.topology import topology
from schemas.facts import RunSettled
from schemas.job_spec import JobSpec
from schemas.registry import dump
from schemas.vocabulary import RunState
from tests.support.transports import eventually

JOB = JobSpec.model_validate(
    {
        "run": {"command": ["true"]},
        "triggers": [{"event": {"topic": "orders.*.created"}, "params": {"order": "{{ event.data.id }}"}}],
    }
)
ALERT = JobSpec.model_validate(
    {"run": {"command": ["true"]}, "triggers": [{"ended": {"job": "*", "state": "failed"}}], "params": {"order": "-"}}
)
DIGEST = JobSpec.model_validate(
    {
        "run": {"command": ["true"]},
        "triggers": [
            {
                "event": {"topic": "reports.*"},
                "collect": {"max": 3, "within": "1h"},
                "params": {"order": "{{ event.data.count }}"},
            }
        ],
    }
)
CLOUD_HEADERS = {f"cloudEvents_{name}": "1.0" for name in ("specversion", "id", "source", "type")}
BAD = {
    b"{": "not JSON",
    b"\xff{}": "not UTF-8",
    b"[1]": "a JSON array",
    b'{"a": 1, "a": 2}': "given twice",
    b'{"a": NaN}': "NaN is no JSON value",
    b'{"a": 1e999}': "infinite",
    b'{"a": "\\u0000"}': "NUL",
    b'{"a": "\\ud800"}': "surrogate",
    b'{"a":' * 100 + b"1" + b"}" * 100: "nested deeper than 64",
    b'{"a":' * 5000 + b"1" + b"}" * 5000: "nested too deeply",
    b'{"a": "' + b"x" * 1024 * 1024 + b'"}': "at most 1048576 are read",
}


def table(fields: bytes) -> bytes:
    return struct.pack(">I", len(fields)) + fields


def nested(depth: int) -> bytes:
    fields = b""
    for _ in range(depth):
        fields = b"\x01aF" + table(fields)
    return table(fields)


UNREADABLE = {
    "out of range": (1 << 6, b"\xff" * 8),  # a time
    "can't decode byte 0xff": (1 << 7, b"\x02\xff\xfe"),  # an id
    "can't decode byte 0xfe": (1 << 13, table(b"\x01\xfeV")),  # the name of a header
    "recursion": (1 << 13, nested(5000)),
}
"""Properties as a publisher may write them: flag and bytes."""


class Stage:
    """A Dispatcher on a real broker and a real database, and a connection of the test's own to both."""

    def __init__(self, db: "asyncpg.Connection[asyncpg.Record]", channel: aio_pika.abc.AbstractChannel) -> None:
        self.db = db
        self.channel = channel
        self.clock = SystemClock()

    async def until(self, query: str, wanted: Any) -> None:
        for _ in range(1500):
            found = await self.db.fetchval(query)
            if found == wanted:
                return
            await self.clock.sleep(0.01)
        raise AssertionError(f"{query} stayed {found!r}")

    async def publish(self, key: str, body: bytes, **properties: Any) -> None:
        exchange = await self.channel.get_exchange("scheduler.events", ensure=False)
        await exchange.publish(aio_pika.Message(body, **properties), key)

    async def waiting(self, queue: str) -> int | None:
        """Return how many messages are ready there."""
        return (await self.channel.declare_queue(queue, passive=True)).declaration_result.message_count

    async def buried(self, count: int) -> list[aio_pika.abc.AbstractIncomingMessage]:
        """Return so many dead letters, once they are there: a message is buried when it is on record as invalid."""
        letters = await self.channel.get_queue("scheduler.dead-letters", ensure=False)
        found: list[aio_pika.abc.AbstractIncomingMessage] = []
        async with asyncio.timeout(15):
            while len(found) < count:
                letter = await letters.get(no_ack=True, fail=False)
                if letter is None:
                    await self.clock.sleep(0.01)
                else:
                    found.append(letter)
        return found


@contextlib.asynccontextmanager
async def staged(amqp_url: str, database_url: str) -> AsyncIterator[Stage]:
    clock = SystemClock()
    await declare(amqp_url, topology({"default": 100}))
    stores = await Stores.open(database_url, name="test")
    jobs = {"ship": JOB, "alert": ALERT, "digest": DIGEST}
    await apply(stores.main, Definitions("default", None, jobs, {}, ()), prune=False, clock=clock)
    transport = AmqpTransport(amqp_url, actor="dispatcher", clock=clock, rng=random.Random(1))
    await transport.start()
    await transport.wait_up(10)
    dispatcher = Dispatcher(stores, transport, clock, random.Random(1), DispatchSettings(0.2))
    await dispatcher.start()
    db = await connect(database_url, name="test")
    connection = await aio_pika.connect(amqp_url)
    try:
        yield Stage(db, await connection.channel())
    finally:
        await connection.close()
        await db.close()
        await dispatcher.stop()
        await transport.close()
        await stores.close()


@pytest.fixture
async def stage(amqp_url: str, database_url: str) -> AsyncIterator[Stage]:
    async with staged(amqp_url, database_url) as made:
        yield made


async def test_bad_bodies_are_recorded_and_buried_and_the_next_good_event_starts_its_run(stage: Stage, amqp_url: str):
    for body in BAD:
        await stage.publish("default.orders.eu.created", body)
    await stage.publish("nobody.orders.eu.created", b"{}")
    await stage.publish("default", b"{}")
    await stage.publish("default.orders.eu.created", b'{"id": 7}')

    await stage.until("SELECT count(*) FROM events WHERE verdict = 'started'", 1)
    await stage.until("SELECT count(*) FROM events WHERE verdict = 'invalid'", len(BAD) + 2)
    found = await stage.db.fetch("SELECT reason FROM events WHERE verdict = 'invalid'")
    reasons = sorted(row["reason"] for row in found)
    nobody = ["there is no tenant nobody", "the routing key must be <tenant>.<topic>, not 'default'"]
    assert [] == [want for want in (*BAD.values(), *nobody) if not any(want in reason for reason in reasons)]
    buried = await stage.buried(len(BAD) + 2)
    assert sorted(letter.headers["x-reason"] for letter in buried) == reasons
    assert {letter.headers["x-origin-exchange"] for letter in buried} == {"scheduler.events"}
    assert {"order": 7} == json.loads(await stage.db.fetchval("SELECT params::text FROM runs"))


async def test_properties_that_cannot_be_read_end_no_connection(stage: Stage, amqp_url: str):
    wire = Wire(lambda _: None)
    await wire.open(amqp_url, "stranger")
    channel = await wire.scratch_channel()
    method = publish_method("scheduler.events", "default.orders.eu.created", channel.number)
    for flags, value in UNREADABLE.values():
        properties = flags.to_bytes(2, "big") + value
        wire.write(method + content(properties, b'{"id": 1}', channel.number, wire.frame_max))
    await stage.publish("default.orders.eu.created", b'{"id": 7}')

    await stage.until("SELECT count(*) FROM events WHERE verdict = 'started'", 1)
    await stage.until("SELECT count(*) FROM events WHERE verdict = 'invalid'", len(UNREADABLE))
    await wire.close()
    reasons = [letter.headers["x-reason"] for letter in await stage.buried(len(UNREADABLE))]
    for reason, said in zip(reasons, UNREADABLE, strict=True):
        assert reason.startswith("its properties cannot be read: "), reason
        assert said in reason


async def test_an_event_that_is_sent_again_starts_nothing(stage: Stage):
    cloud = {"specversion": "1.0", "id": "a", "source": "/shop", "type": "order", "data": {"id": 1}}
    for _ in range(2):
        await stage.publish("default.orders.eu.created", b'{"id": 7}', message_id="m-1")
        await stage.publish("default.orders.eu.created", json.dumps(cloud).encode())
        await stage.publish("default.orders.eu.created", b'{"id": 5}', message_id="m-1", app_id="another")
        await stage.publish("default.orders.eu.created", b'{"id": 6}', headers=CLOUD_HEADERS)
    await stage.publish("default.orders.eu.created", b'{"id": 7}', message_id="m-2")
    await stage.publish("default.orders.eu.created", b'{"id": 8}')
    await stage.publish("default.orders.eu.created", b'{"id": 8}')

    await stage.publish("default.last", b"{}")

    await stage.until("SELECT count(*) FROM events WHERE topic = 'last' AND verdict = 'unmatched'", 1)
    orders = [row[0] for row in await stage.db.fetch("SELECT params ->> 'order' FROM runs ORDER BY 1")]
    assert orders == ["1", "5", "6", "7", "7", "8", "8"]


async def test_the_form_of_the_management_page_starts_a_run_and_shows_what_was_buried(
    stage: Stage, rabbit: Any, amqp_url: str
):
    vhost = quote(urlsplit(amqp_url).path[1:], safe="")
    form = {"properties": {"delivery_mode": 2, "headers": {}}, "payload_encoding": "string", "routing_key": ""}

    sent = [
        rabbit.management.call("POST", f"exchanges/{vhost}/scheduler.events/publish", form | words)
        for words in (
            {"routing_key": "default.orders.jp.created", "payload": '{"id": 9}'},
            {"routing_key": "default.orders.jp.created", "payload": "hello"},
        )
    ]

    assert sent == [{"routed": True}, {"routed": True}], "queued; what became of it is in the rows"
    await stage.until("SELECT params ->> 'order' FROM runs", "9")
    await stage.until("SELECT count(*) FROM events WHERE verdict = 'invalid'", 1)
    await eventually(lambda: stage.waiting("scheduler.dead-letters"), 1)
    get = {"count": 5, "ackmode": "ack_requeue_true", "encoding": "auto"}
    (letter,) = rabbit.management.call("POST", f"queues/{vhost}/scheduler.dead-letters/get", get)
    assert (letter["payload"], letter["routing_key"]) == ("hello", "default.orders.jp.created")
    assert letter["properties"]["headers"]["x-reason"].startswith("not JSON: Expecting value")
    names = {queue["name"] for queue in rabbit.management.call("GET", f"queues/{vhost}")}
    assert {"scheduler.dispatcher.events", "scheduler.dead-letters", "scheduler.executor.default"} <= names
    bound = rabbit.management.call("GET", f"exchanges/{vhost}/scheduler.events/bindings/source")
    assert [(way["destination"], way["routing_key"]) for way in bound] == [("scheduler.dispatcher.events", "#")]

    async def readers() -> set[str]:
        rows = await asyncio.to_thread(rabbit.management.call, "GET", f"consumers/{vhost}")
        # Empty until the broker has gathered its statistics for the first time.
        names = {row["channel_details"]["connection_name"] for row in rows if row["channel_details"]}
        links = await asyncio.to_thread(rabbit.management.call, "GET", f"vhosts/{vhost}/connections")
        shown = {link["name"]: link["client_properties"].get("connection_name", "") for link in links}
        return {shown[name].split("@")[0] for name in names if name in shown}

    await eventually(readers, {"scheduler/dispatcher"})


async def test_an_end_that_a_trigger_waits_for_starts_its_alert(stage: Stage):
    await stage.publish("default.orders.eu.created", b'{"id": 7}')
    await stage.until("SELECT has_downstream FROM runs WHERE job_name = 'ship' AND state = 'ready'", True)
    run_id = await stage.db.fetchval(
        "UPDATE runs SET state = 'failed', reason = 'exit code 1', finished_at = now(), "
        "sweep_at = now() + interval '1 hour' RETURNING id"
    )

    settled = RunSettled(tenant="default", run_id=run_id, state=RunState.FAILED, pool="default", has_downstream=True)
    for _ in range(2):
        exchange = await stage.channel.get_exchange("scheduler.settled", ensure=False)
        await exchange.publish(aio_pika.Message(dump([settled])), "run.settled")

    await stage.until("SELECT count(*) FROM runs WHERE job_name = 'alert'", 1)
    row = await stage.db.fetchrow("SELECT topic, verdict, data ->> 'reason' AS why FROM events WHERE source = 'run'")
    assert ("run.failed.ship", "started", "exit code 1") == tuple(row or ())
    assert 1 == await stage.db.fetchval("SELECT count(*) FROM runs WHERE job_name = 'alert'")


async def test_messages_are_collected_into_one_run(stage: Stage):
    for number in range(4):
        await stage.publish("default.reports.eu", json.dumps({"n": number}).encode())

    await stage.until("SELECT params ->> 'order' FROM runs WHERE job_name = 'digest'", "3")
    await stage.until("SELECT count(*) FROM firings WHERE verdict = 'collected'", 4)
    assert 1 == await stage.db.fetchval("SELECT count(*) FROM events WHERE source = 'gathered' AND verdict IS NULL")


async def test_no_routing_key_stops_the_dispatcher(stage: Stage, rabbit: Any, amqp_url: str):
    vhost = quote(urlsplit(amqp_url).path[1:], safe="")
    for key in ("", ".", "default.", ".x", "Default.x", "default.\0", "a" * 255, "default.\N{SNOWMAN}"):
        words = {"properties": {}, "routing_key": key, "payload": "{}", "payload_encoding": "string"}
        rabbit.management.call("POST", f"exchanges/{vhost}/scheduler.events/publish", words)
    await stage.publish("default.orders.eu.created", b'{"id": 7}')

    await stage.until("SELECT count(*) FROM events WHERE verdict = 'started'", 1)
    await stage.until("SELECT count(*) FROM events WHERE verdict = 'invalid'", 7)


async def test_topics_match_as_the_broker_matches_them(amqp_url: str):
    """Every short pattern against every short key: what our matcher says is what the broker does."""
    patterns = [".".join(words) for size in (1, 2, 3) for words in itertools.product(("a", "*", "#", ""), repeat=size)]
    keys = [".".join(words) for size in (1, 2, 3) for words in itertools.product(("a", "b", ""), repeat=size)]
    connection = await aio_pika.connect(amqp_url)
    async with connection:
        channel = await connection.channel()
        exchange = await channel.declare_exchange("oracle", aio_pika.ExchangeType.TOPIC)
        queues = {}
        for pattern in dict.fromkeys(patterns):
            queues[pattern] = await channel.declare_queue(exclusive=True)
            await queues[pattern].bind(exchange, pattern)
        for key in dict.fromkeys(keys):
            await exchange.publish(aio_pika.Message(b""), key)
        wrong = []
        for pattern, queue in queues.items():
            got = set()
            while (message := await queue.get(no_ack=True, fail=False)) is not None:
                got.add(message.routing_key)
            wrong += [(pattern, key) for key in dict.fromkeys(keys) if matches(pattern, key) is not (key in got)]
    assert wrong == []
