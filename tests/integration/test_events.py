"""Events from a publisher to runs: the memory transport and a real database."""

import json
import uuid
from typing import Any

import pytest

from scheduler.ports import Out
from scheduler.store.events import NewEvent, record_events
from schemas.vocabulary import EventSource
from tests.support.engine import Engine, engine

JOB = {"run": {"command": ["true"]}, "triggers": [{"event": {"topic": "orders.*.created"}}]}


@pytest.fixture
async def stage(database_url: str):
    async with engine(database_url) as made:
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
