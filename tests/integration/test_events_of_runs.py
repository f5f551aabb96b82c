"""Ends of runs as events: which are recorded, what they start, and that nothing is lost or starts itself."""

import json
import uuid
from datetime import timedelta
from typing import Any

import pytest

from scheduler.domain.matching import MAX_DEPTH
from schemas.vocabulary import Outcome
from tests.support.engine import Engine, engine

COMMAND = {"command": ["true"]}
WHY = {"why": "{{ event.data.outcome }}", "of": "{{ event.data.job }}"}
ALERT = {"run": COMMAND, "triggers": [{"ended": {"job": "*", "state": "failed"}, "params": WHY}]}


@pytest.fixture
async def stage(database_url: str, broker_url: str | None):
    async with engine(database_url, amqp_url=broker_url) as made:
        yield made


async def test_a_failed_run_starts_its_alert_and_an_alert_that_fails_starts_none(stage: Engine):
    await stage.apply(work={"run": COMMAND}, alert=ALERT)
    stage.executor.script = {"work": [Outcome.FAILED], "alert": [Outcome.FAILED]}

    await stage.fire("work")

    assert {"work": ["failed"], "alert": ["failed"]} == await stage.settled(2)
    assert {"why": "failed", "of": "work"} == stage.executor.offers[1].order.params
    await stage.until("SELECT count(*) FROM events WHERE verdict IS NOT NULL", holds=lambda found: found == 1)
    (event,) = await stage.db.fetch("SELECT source, topic, verdict, depth, data FROM events")
    assert tuple(event)[:4] == ("run", "run.failed.work", "started", 1)
    data = json.loads(event["data"]) if isinstance(event["data"], str) else event["data"]
    assert (data["state"], data["attempt"], data["result"]) == ("failed", 1, None)


async def test_of_jobs_that_nobody_waits_for_nothing_is_recorded(stage: Engine):
    watcher = {"run": COMMAND, "triggers": [{"ended": {"job": "backup-*", "state": "succeeded"}}]}
    await stage.apply(work={"run": COMMAND}, backup_a={"run": COMMAND}, watcher=watcher)
    stage.executor.script = {"backup-a": [Outcome.FAILED]}

    await stage.fire("work")
    await stage.fire("backup-a")

    await stage.settled(2)
    assert 0 == await stage.db.fetchval("SELECT count(*) FROM events")
    rows = await stage.db.fetch("SELECT job_name, has_downstream FROM runs ORDER BY job_name")
    assert [tuple(row) for row in rows] == [("backup-a", True), ("work", False)]


async def test_an_end_whose_message_is_lost_is_found_in_its_row(stage: Engine):
    watcher = {"run": COMMAND, "triggers": [{"ended": {"job": "work", "state": "finished"}}]}
    await stage.apply(work={"run": COMMAND}, watcher=watcher)
    row = "SELECT id FROM jobs WHERE name = 'work'"
    await stage.db.execute(
        f"""INSERT INTO runs (id, tenant, job_id, job_version, job_name, flow_id, fired_at, state, pool, priority,
                             has_downstream, finished_at, sweep_at, created_at)
            SELECT $1, 'default', ({row}), 1, 'work', $1, now(), 'cancelled', 'default', 2, true, now(), now(),
                   now()""",
        uuid.uuid4(),
    )

    await stage.until("SELECT count(*) FROM runs WHERE job_name = 'watcher' AND state = 'succeeded'")
    assert 1 == await stage.db.fetchval("SELECT count(*) FROM events")


async def test_a_run_under_way_is_heard_of_when_the_trigger_comes_later(stage: Engine):
    stage.executor.script = {"work": [None]}
    await stage.apply(work={"run": COMMAND})
    await stage.fire("work")
    offer, claim_id = await stage.grant(0)

    await stage.apply(work={"run": COMMAND}, alert=ALERT)
    await stage.until("SELECT has_downstream FROM runs")
    await stage.executor.finish(offer, claim_id, Outcome.FAILED)

    assert {"work": ["failed"], "alert": ["succeeded"]} == await stage.settled(2)


async def test_jobs_that_start_each_other_end_in_a_loop(stage: Engine):
    def after(job: str) -> dict[str, Any]:
        return {"run": COMMAND, "triggers": [{"ended": {"job": job, "state": "succeeded"}}]}

    await stage.apply(ping=after("pong"), pong=after("ping"))

    await stage.fire("ping")

    await stage.until("SELECT count(*) FROM events WHERE verdict = 'loop'")
    assert MAX_DEPTH + 1 == await stage.db.fetchval("SELECT count(*) FROM runs")
    assert 1 == await stage.db.fetchval("SELECT count(*) FROM firings WHERE verdict = 'loop'")
    assert "firing.loop" in [row["fact"] for row in await stage.db.fetch("SELECT DISTINCT fact FROM feed")]
    reason = await stage.db.fetchval("SELECT reason FROM events WHERE verdict = 'loop'")
    assert f"{MAX_DEPTH + 1} runs led to it, one after the other" in reason


async def test_an_end_is_told_once_however_often_its_step_is_done(stage: Engine):
    alert = {"run": COMMAND, "triggers": [{"ended": {"job": "work", "state": "failed"}}]}
    await stage.apply(work={"run": COMMAND, "overlap": "queue_all"}, alert=alert)
    stage.executor.script = {"work": [Outcome.FAILED]}

    await stage.fire("work")
    await stage.settled(2)
    await stage.db.execute("UPDATE runs SET sweep_at = now() WHERE job_name = 'work'")

    await stage.until("SELECT sweep_at IS NULL FROM runs WHERE job_name = 'work'")
    assert 1 == await stage.db.fetchval("SELECT count(*) FROM events")


async def test_skipped_and_cancelled_runs_have_ends_too(stage: Engine):
    seen = {"run": COMMAND, "triggers": [{"ended": {"job": "later", "state": "skipped"}}]}
    await stage.apply(work={"run": COMMAND}, later={"run": COMMAND, "needs": ["work"]}, seen=seen)
    stage.executor.script = {"work": [Outcome.FAILED]}

    await stage.fire("work")

    assert {"work": ["failed"], "later": ["skipped"], "seen": ["succeeded"]} == await stage.settled(3)
    assert timedelta(0) < await stage.db.fetchval("SELECT now() - received_at FROM events")
