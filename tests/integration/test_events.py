"""Events from a publisher to runs: the memory transport and a real database."""

import json
import uuid
from typing import Any

import pytest

from scheduler.definitions.model import Definitions
from scheduler.errors import DefinitionsError
from scheduler.ports import Out
from scheduler.store.definitions import apply
from scheduler.store.events import NewEvent, record_events
from scheduler.store.webhooks import WebhookChanges
from schemas.job_spec import JobSpec
from schemas.vocabulary import EventSource
from schemas.webhook_spec import WebhookSpec
from tests.support.engine import Engine, engine
from tests.support.transports import take

JOB = {"run": {"command": ["true"]}, "triggers": [{"event": {"topic": "orders.*.created"}}]}


@pytest.fixture
async def stage(database_url: str, broker_url: str | None):
    async with engine(database_url, amqp_url=broker_url) as made:
        yield made


async def publish(stage: Engine, key: str, body: object, **fields: Any) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    publisher = await stage.executor.transport.publisher("stranger")
    await publisher.publish(Out("scheduler.events", key, raw, content_type=None, **fields))
    await publisher.close()


async def verdicts(stage: Engine, count: int) -> list[tuple[Any, ...]]:
    """Return topic, verdict and reason of each event, once ``count`` have a verdict."""
    done = "SELECT count(*) FROM events WHERE verdict IS NOT NULL"
    await stage.until(done, holds=lambda found: found >= count)
    return [tuple(row) for row in await stage.db.fetch("SELECT topic, verdict, reason FROM events ORDER BY id")]


async def test_an_event_starts_a_run_with_params_made_of_it(stage: Engine):
    trigger = {"event": {"topic": "orders.*.created"}, "params": {"order": "{{ event.data.id }}"}}
    await stage.apply(sell={"run": {"command": ["true"]}, "triggers": [trigger]})

    await publish(stage, "default.orders.eu.created", {"id": 7})

    assert {"sell": ["succeeded"]} == await stage.settled(1)
    assert {"order": 7} == stage.executor.offers[0].order.params
    assert [("orders.eu.created", "started", None)] == await verdicts(stage, 1)


async def test_what_no_trigger_waits_for_is_on_record_with_why(stage: Engine):
    where = {"event": {"topic": "orders.*.created"}, "where": "event.data.amount > `100`"}
    await stage.apply(sell={"run": {"command": ["true"]}, "triggers": [where]})

    await publish(stage, "default.orders.eu.created", {"amount": 1})
    await publish(stage, "default.other", {})
    await publish(stage, "default.orders.eu.created", b"{")

    found = {(topic, verdict): reason for topic, verdict, reason in await verdicts(stage, 3)}
    (key,) = [trigger["key"] for trigger in await stage.db.fetch("SELECT key FROM triggers")]
    assert found["orders.eu.created", "unmatched"] == f"trigger {key} of job sell: where is not true of it"
    assert found["other", "unmatched"] == "no trigger waits for it"
    assert found["orders.eu.created", "invalid"].startswith("not JSON: ")


async def test_a_message_without_an_id_that_is_delivered_again_is_known_by_its_content(stage: Engine):
    await stage.apply(sell=JOB)
    await publish(stage, "default.orders.eu.created", {"id": 7})
    await stage.settled(1)
    await stage.dispatcher.stop()

    for body in ({"id": 7}, {"id": 7}, {"id": 8}):  # the first is as one whose answer was lost; the others are new
        await publish(stage, "default.orders.eu.created", body)
    consumer = await stage.recorder.transport.consumer("scheduler.dispatcher.events", credit=10, name="test")
    await consumer.release(await take(consumer, 3))
    await consumer.close()
    await stage.dispatcher.start()

    await verdicts(stage, 3)
    await publish(stage, "default.last", {})
    topics = [topic for topic, _, _ in await verdicts(stage, 4)]
    assert ["last", *["orders.eu.created"] * 3] == sorted(topics)
    assert {"sell": ["succeeded"] * 3} == await stage.settled(3)


async def test_an_event_with_a_key_is_recorded_once_until_the_key_expires(stage: Engine):
    def made(key: str) -> NewEvent:
        return NewEvent(id=uuid.uuid4(), tenant="default", source=EventSource.CLI, topic="a", data={}, key=key)

    async with stage.stores.main.transaction() as db:
        first = await record_events(db, [made("k"), made("k"), made("other")])
    assert [False, True, False] == [one.duplicate for one in first]
    assert first[0].event_id == first[1].event_id

    async with stage.stores.main.transaction() as db:
        (again,) = await record_events(db, [made("k")])
        await db.execute("UPDATE event_keys SET expires_at = now()")
        (later,) = await record_events(db, [made("k")])
    assert (again.event_id, again.duplicate) == (first[0].event_id, True)
    assert not later.duplicate


async def test_an_endpoint_that_a_trigger_uses_is_not_pruned(stage: Engine):
    hooks = {"orders": WebhookSpec.model_validate({"verify": "none"})}
    part = {"any_of": [{"webhook": "orders"}, {"event": {"topic": "a"}}]}
    users = {"whole": {"webhook": "orders"}, "part": part}
    jobs = {name: JobSpec.model_validate({"run": {"command": ["true"]}, "triggers": [words]})
            for name, words in users.items()}  # fmt: skip

    async def put(webhooks: dict[str, WebhookSpec], jobs: dict[str, JobSpec]) -> WebhookChanges:
        definitions = Definitions("default", "file", jobs, {}, (), webhooks=webhooks)
        return (await apply(stage.stores.main, definitions, prune=True, clock=stage.clock)).webhooks

    assert ["orders"] == (await put(hooks, jobs)).changed
    for name in users:
        with pytest.raises(DefinitionsError, match=f"cannot be removed, trigger .* of job {name} uses it"):
            await put({}, {name: jobs[name]})
    assert ["orders"] == (await put({}, {})).removed
