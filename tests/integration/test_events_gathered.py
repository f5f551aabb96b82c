"""Events that are not taken one by one: debounced, throttled, collected, parts of a whole; each with its verdict."""

import json
import uuid
from typing import Any

import pytest

from scheduler.clock import SystemClock
from scheduler.ids import uuid7
from scheduler.ports import Out
from scheduler.store.events import NewEvent, record_events
from schemas.vocabulary import EventSource
from tests.support.engine import Engine, engine
from tests.support.transports import publish

COMMAND = {"command": ["true"]}


@pytest.fixture
async def stage(database_url: str, broker_url: str | None):
    async with engine(database_url, amqp_url=broker_url) as made:
        yield made


def waiting(**keys: Any) -> dict[str, Any]:
    return {"run": COMMAND, "triggers": [{"event": {"topic": "a"}, **keys}]}


async def say(stage: Engine, topic: str, *bodies: dict[str, Any]) -> list[uuid.UUID]:
    """Record events, all at once, and return their ids once Dispatchers have decided them."""
    made = sorted(uuid7(SystemClock()) for _ in bodies)  # those of one millisecond have no order
    events = [
        NewEvent(id=event_id, tenant="default", source=EventSource.CLI, topic=topic, data=body)
        for event_id, body in zip(made, bodies, strict=True)
    ]
    async with stage.stores.main.transaction() as db:
        await record_events(db, events)
    ids = [event.id for event in events]
    decided = "SELECT count(*) FROM events WHERE id = ANY ($1) AND verdict IS NOT NULL"
    await stage.until(decided, ids, holds=lambda found: found == len(ids))
    return ids


async def verdicts(stage: Engine, ids: list[uuid.UUID]) -> list[str | None]:
    """Return the verdict of the firing of each event."""
    rows = await stage.db.fetch("SELECT event_id, verdict FROM firings WHERE event_id = ANY ($1)", ids)
    found = {row["event_id"]: row["verdict"] for row in rows}
    return [found[event_id] for event_id in ids]


def params(stage: Engine) -> list[Any]:
    return [offer.order.params for offer in stage.executor.offers]


async def test_the_last_of_a_burst_starts_the_run_and_each_key_by_itself(stage: Engine):
    await stage.apply(job=waiting(debounce="1h", by="{{ event.data.k }}", params={"n": "{{ event.data.n }}"}))

    ids = await say(stage, "a", {"k": 1, "n": 1}, {"k": 2, "n": 2}, {"k": 1, "n": 3})
    ids += await say(stage, "a", {"k": 1, "n": 4})

    assert ["debounced", None, "debounced", None] == await verdicts(stage, ids), "the others wait for more to come"
    left = "SELECT array_agg(sweep_at BETWEEN now() + '59 min' AND now() + '1 h') FROM firings WHERE verdict IS NULL"
    assert [True, True] == await stage.db.fetchval(left)
    await stage.db.execute("UPDATE firings SET sweep_at = now() WHERE verdict IS NULL")  # an hour is over
    await stage.settled(2)
    assert [{"n": 2}, {"n": 4}] == sorted(params(stage), key=lambda found: found["n"])
    assert ["debounced", "started", "debounced", "started"] == await verdicts(stage, ids)
    reason = await stage.db.fetchval("SELECT reason FROM firings WHERE event_id = $1", ids[2])
    assert reason == f"event {ids[3]} came within 1h"
    facts = {row["fact"] for row in await stage.db.fetch("SELECT fact FROM feed")}
    assert "firing.debounced" in facts


async def test_more_than_a_throttle_lets_pass_are_accounted_for(stage: Engine):
    await stage.apply(job=waiting(throttle="2/h", by="{{ event.data.k }}"))

    ids = await say(stage, "a", {"k": 1}, {"k": 1}, {"k": 1}, {"k": 2})
    ids += await say(stage, "a", {"k": 1}, {"k": 2})

    await stage.settled(4)
    expected = ["started", "started", "throttled", "started", "throttled", "started"]
    assert expected == await verdicts(stage, ids)
    row = await stage.db.fetchrow("SELECT verdict, reason FROM events WHERE id = $1", ids[2])
    assert row["verdict"] == "throttled"
    assert "trigger event-" in row["reason"]
    assert "throttle 2/h: the last one that passed came at " in row["reason"]


async def test_events_are_collected_into_one_run_with_a_list(stage: Engine):
    keys = {"collect": {"max": 3, "within": "1h"}, "params": {"all": "{{ event.data.events }}"}}
    await stage.apply(job=waiting(**keys))

    ids = await say(stage, "a", {"n": 1}, {"n": 2})
    ids += await say(stage, "a", {"n": 3}, {"n": 4})

    await stage.settled(1)
    (given,) = params(stage)
    assert [1, 2, 3] == [event["data"]["n"] for event in given["all"]]
    assert ["collected"] * 4 == await verdicts(stage, ids)
    gathered = await stage.db.fetch("SELECT verdict, data FROM events WHERE source = 'gathered' ORDER BY id")
    assert [("started", 3), (None, None)] == [(row["verdict"], row["data"].get("count")) for row in gathered]


async def test_what_one_publisher_sends_stays_in_its_order(stage: Engine):
    count = 30
    keys = {"collect": {"max": count, "within": "1h"}, "params": {"all": "{{ event.data.events }}"}}
    await stage.apply(job=waiting(**keys))

    sent = [Out("scheduler.events", "default.a", b'{"n": %d}' % number) for number in range(count)]
    await publish(stage.executor.transport, *sent)

    await stage.settled(1)
    (given,) = params(stage)
    assert list(range(count)) == [event["data"]["n"] for event in given["all"]]


async def test_what_is_collected_starts_its_run_in_time_by_another_dispatcher(
    stage: Engine, database_url: str, broker_url: str | None
):
    await stage.apply(job=waiting(collect={"max": 100, "within": "1s"}, params={"n": "{{ event.data.count }}"}))
    await say(stage, "a", {"n": 1}, {"n": 2})
    await stage.dispatcher.stop()

    async with engine(
        database_url, alive=broker_url is None, amqp_url=broker_url
    ):  # as after a restart: nothing but the rows is there
        await stage.until("SELECT count(*) FROM runs WHERE state = 'succeeded'")

    assert {"n": 2} == json.loads(await stage.db.fetchval("SELECT params::text FROM runs"))


async def test_all_of_its_parts_have_to_happen_each_once(stage: Engine):
    parts = [{"event": {"topic": "a"}}, {"event": {"topic": "b"}, "where": "event.data.ok"}]
    trigger = {
        "all_of": parts,
        "within": "1h",
        "by": "{{ event.data.k }}",
        "params": {"got": "{{ event.data.events }}"},
    }
    await stage.apply(job={"run": COMMAND, "triggers": [trigger]})

    ids = await say(stage, "a", {"k": 1, "n": 1}, {"k": 1, "n": 2}, {"k": 2, "n": 3})
    ids += await say(stage, "b", {"k": 2, "ok": False})
    assert 0 == await stage.db.fetchval("SELECT count(*) FROM runs")
    ids += await say(stage, "b", {"k": 1, "ok": True})

    await stage.settled(1)
    (given,) = params(stage)
    assert [{"k": 1, "n": 2}, {"k": 1, "ok": True}] == [event["data"] for event in given["got"]]
    refused = await stage.db.fetchrow("SELECT verdict, reason FROM events WHERE id = $1", ids[3])
    assert refused["verdict"] == "unmatched"
    assert "where is not true of it" in refused["reason"]


async def test_parts_that_are_too_far_apart_are_told_of(stage: Engine):
    parts = [{"event": {"topic": "a"}}, {"ended": {"job": "work", "state": "succeeded"}}]
    await stage.apply(job={"run": COMMAND, "triggers": [{"all_of": parts, "within": "500ms"}]}, work={"run": COMMAND})

    await say(stage, "a", {})
    done = "SELECT reason FROM events WHERE source = 'gathered' AND verdict = 'unmatched'"
    reason = await stage.until(done)
    await stage.fire("work")

    assert reason.endswith("of 2 parts only 1 happened within 500ms")
    await stage.until("SELECT count(*) FROM events WHERE source = 'gathered'", holds=lambda found: found == 2)
    assert 1 == await stage.db.fetchval("SELECT count(*) FROM runs")


async def test_an_event_and_the_end_of_a_run_make_a_whole(stage: Engine):
    parts = [{"event": {"topic": "a"}}, {"ended": {"job": "work", "state": "succeeded"}}]
    await stage.apply(job={"run": COMMAND, "triggers": [{"all_of": parts}]}, work={"run": COMMAND})

    await say(stage, "a", {})
    await stage.fire("work")

    assert {"work": ["succeeded"], "job": ["succeeded"]} == await stage.settled(2)


async def test_any_of_fires_once_in_its_window(stage: Engine):
    parts = [{"event": {"topic": "a"}}, {"event": {"topic": "b"}}]
    await stage.apply(job={"run": COMMAND, "triggers": [{"any_of": parts, "within": "1h"}]})

    ids = await say(stage, "b", {})
    ids += await say(stage, "a", {})

    assert ["started", "throttled"] == await verdicts(stage, ids)


async def test_max_fires_counts_runs_not_what_was_gathered(stage: Engine):
    await stage.apply(job=waiting(collect={"max": 2, "within": "1h"}, max_fires=1))

    await say(stage, "a", {}, {}, {}, {})

    await stage.until("SELECT count(*) FROM events WHERE source = 'gathered' AND verdict IS NOT NULL",
                      holds=lambda found: found == 2)  # fmt: skip
    await stage.settled(1)
    assert 1 == await stage.db.fetchval("SELECT count(*) FROM runs")


async def test_a_key_that_cannot_be_filled_makes_the_event_invalid(stage: Engine):
    await stage.apply(job=waiting(throttle="1/m", by="{{ event.data.k }}"))

    (event_id,) = await say(stage, "a", {})

    row = await stage.db.fetchrow("SELECT verdict, reason FROM events WHERE id = $1", event_id)
    assert row["verdict"] == "invalid"
    assert "by cannot be filled" in row["reason"]
    assert ["invalid"] == await verdicts(stage, [event_id])
    assert "firing.invalid" in {row["fact"] for row in await stage.db.fetch("SELECT fact FROM feed")}
