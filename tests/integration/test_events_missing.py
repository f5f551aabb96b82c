"""What did not happen by its time: looked for each day, told when it is missing, and accounted for when it came."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from scheduler.clock import SystemClock
from scheduler.ids import uuid7
from scheduler.store.events import NewEvent, record_events
from schemas.vocabulary import EventSource, Outcome
from tests.support.engine import Engine, engine

COMMAND = {"command": ["true"]}
DECIDED = "SELECT verdict FROM events WHERE source = 'absence' AND verdict IS NOT NULL"


@pytest.fixture
async def stage(database_url: str, broker_url: str | None):
    async with engine(database_url, amqp_url=broker_url) as made:
        yield made


async def look(stage: Engine, missing: dict[str, Any], days: int = 1, **jobs: Any) -> datetime:
    """Apply a job that looks for something at a time that has just been; return that time."""
    at = datetime.now(UTC).replace(second=0, microsecond=0)
    trigger = {"missing": {**missing, "by": f"{at:%H:%M}"}, "params": {"since": "{{ event.data.since }}"}}
    await stage.apply(alert={"run": COMMAND, "triggers": [trigger]}, **jobs)
    assert at + timedelta(days=1) == await stage.db.fetchval("SELECT next_at FROM triggers WHERE kind = 'missing'")
    return at


async def come(stage: Engine, at: datetime, days: int = 1) -> None:
    """Let the look of ``at`` be due, and those of the days before it."""
    since = at - timedelta(days=days) + timedelta(seconds=1)
    await stage.db.execute("UPDATE triggers SET next_at = $1, last_at = $2 WHERE kind = 'missing'", at, since)
    await stage.db.execute("SELECT pg_notify('scheduler_definitions', '')")


async def publish(stage: Engine, topic: str, at: datetime) -> None:
    event = NewEvent(id=uuid7(SystemClock()), tenant="default", source=EventSource.CLI, topic=topic, data={})
    async with stage.stores.main.transaction() as db:
        await record_events(db, [event])
    await stage.db.execute("UPDATE events SET received_at = $2 WHERE id = $1", event.id, at)


async def test_what_did_not_come_starts_the_job(stage: Engine):
    at = await look(stage, {"event": "reports.*"})
    await publish(stage, "reports.eu", at - timedelta(days=1, minutes=1))
    await publish(stage, "other.eu", at - timedelta(hours=1))

    await come(stage, at)

    assert "started" == await stage.until(DECIDED)
    await stage.settled(1)
    day_before = (at - timedelta(days=1)).isoformat().replace("+00:00", "Z")
    assert {"since": day_before} == stage.executor.offers[0].order.params
    assert "absence.alert" == await stage.db.fetchval("SELECT topic FROM events WHERE source = 'absence'")
    assert at + timedelta(days=1) == await stage.db.fetchval("SELECT next_at FROM triggers WHERE kind = 'missing'")


async def test_what_came_is_in_the_ledger_as_arrived(stage: Engine):
    at = await look(stage, {"event": "reports.*"})
    await publish(stage, "reports.eu", at - timedelta(minutes=1))

    await come(stage, at)

    assert "arrived" == await stage.until(DECIDED)
    verdict, reason = await stage.db.fetchrow("SELECT verdict, reason FROM firings")
    assert verdict == "arrived"
    assert "(reports.eu) came at " in reason
    assert "firing.arrived" in {row["fact"] for row in await stage.db.fetch("SELECT fact FROM feed")}
    assert 0 == await stage.db.fetchval("SELECT count(*) FROM runs")


async def test_an_end_that_did_not_come_starts_the_job_and_one_that_did_does_not(stage: Engine):
    stage.executor.script = {"work": [Outcome.FAILED]}
    at = await look(stage, {"ended": {"job": "wor*", "state": "succeeded"}}, work={"run": COMMAND})
    await stage.fire("work")
    await stage.settled(1)
    await stage.db.execute("UPDATE runs SET finished_at = $1", at - timedelta(minutes=1))
    assert 0 == await stage.db.fetchval("SELECT count(*) FROM events"), "nobody has to be told of the end itself"

    await come(stage, at)
    assert "started" == await stage.until(DECIDED)
    await stage.settled(2)

    await stage.db.execute("UPDATE runs SET state = 'succeeded', finished_at = $1 WHERE job_name = 'work'",
                           at - timedelta(minutes=1))  # fmt: skip
    await stage.db.execute("DELETE FROM events; DELETE FROM firings")
    await come(stage, at)
    assert "arrived" == await stage.until(DECIDED)
    reason = await stage.db.fetchval("SELECT reason FROM firings WHERE verdict = 'arrived'")
    assert "of job work ended as succeeded at " in reason


async def test_after_an_outage_one_look_stands_for_those_that_were_missed(stage: Engine):
    at = await look(stage, {"event": "reports.*"})

    await come(stage, at, days=4)

    assert "started" == await stage.until(DECIDED)
    rows = await stage.db.fetch("SELECT verdict, count FROM firings WHERE kind = 'time'")
    assert [("merged", 3)] == [tuple(row) for row in rows]
    assert 1 == await stage.db.fetchval("SELECT count(*) FROM events WHERE source = 'absence'")
