"""The ledger as people see it: filters, stretches, counts by verdict, lateness."""

import itertools
import json
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from scheduler.errors import NotFoundError
from scheduler.store.ledger import FiringFilter, count_verdicts, list_firings, measure_lateness
from tests.support.ticking import START, Stage

HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
ALWAYS: dict[str, datetime] = {"since": START - HOUR, "until": START + 100 * HOUR}


async def outage(stage: Stage) -> None:
    """Be down over five hours of an hourly job and of a faster one that allows two hours."""
    ticker = await stage.ticker(per_minute=1)
    fast = {"every": "1m", "id": "m", "catch_up": {"window": "2h"}}
    await stage.apply(hourly=[{"every": "1h", "id": "h"}], fast=[fast])
    stage.clock.jump(START + 5 * HOUR + 45 * SECOND)
    await ticker.tick(stage.stores.main)


async def test_filters_by_job_verdict_and_time(stage: Stage) -> None:
    await outage(stage)

    async def found(**which: Any) -> list[tuple[str, str, int]]:
        rows = await list_firings(stage.stores.main, "default", FiringFilter(**which))
        return sorted((row["job"], row["verdict"] or "", row["count"]) for row in rows)

    assert [("hourly", "", 1), ("hourly", "merged", 4)] == await found(job="hourly")
    assert [("fast", "misfired", 180)] == await found(verdicts=["misfired"])
    assert [("fast", "", 1), ("hourly", "", 1)] == await found(verdicts=["undecided"])
    assert [("fast", "", 1), ("hourly", "", 1)] == await found(since=START + 5 * HOUR)
    assert [("fast", "misfired", 180)] == await found(until=START + HOUR)
    with pytest.raises(NotFoundError):
        await found(job="nobody")


async def test_what_is_held_says_until_when_about(stage: Stage) -> None:
    await outage(stage)

    rows = await list_firings(stage.stores.main, "default", FiringFilter(verdicts=["undecided"]))

    assert [False, True] == sorted(row["held_until"] is not None for row in rows)


async def test_counts_by_trigger_and_verdict(stage: Stage) -> None:
    await outage(stage)

    counted = await count_verdicts(stage.stores.main, "default", None, **ALWAYS)

    assert [
        {"job": "fast", "trigger": "m", "verdicts": {"merged": 119, "misfired": 180, "undecided": 1}},
        {"job": "hourly", "trigger": "h", "verdicts": {"merged": 4, "undecided": 1}},
    ] == counted
    assert [] == await count_verdicts(stage.stores.main, "default", None, since=START - HOUR, until=START)
    with pytest.raises(NotFoundError):
        await count_verdicts(stage.stores.main, "default", "nobody", **ALWAYS)


async def test_lateness_is_from_the_planned_instant_to_the_first_claim(stage: Stage) -> None:
    """Of a run that was tried again the first attempt counts."""
    await stage.apply(job=[{"every": "1m"}])
    job = await stage.db.fetchval("SELECT id FROM jobs")
    for late, attempt in ((1, 1), (2, 1), (9, 2)):
        firing, run = uuid4(), uuid4()
        due = START + late * timedelta(minutes=1)
        started = due + late * SECOND
        await stage.db.execute(
            "INSERT INTO firings (id, tenant, kind, job_id, job_version, fires_at, wall_time, zone, verdict, "
            "decided_at, run_id) VALUES ($1, 'default', 'time', $2, 1, $3, '', 'UTC', 'started', $3, $4)",
            *(firing, job, due, run),
        )
        await stage.db.execute(
            "INSERT INTO runs (id, tenant, job_id, job_version, job_name, flow_id, fired_at, state, pool, priority, "
            "finished_at, attempt, claimed_at) "
            "VALUES ($1, 'default', $2, 1, 'job', $1, $3, 'succeeded', 'default', 2, $3, $4, $5)",
            *(run, job, due, attempt, started if attempt == 1 else due + HOUR),
        )
        await stage.db.execute(
            "INSERT INTO attempts (run_id, attempt, tenant, outcome, started_at, finished_at) "
            "VALUES ($1, 1, 'default', 'failed', $2, $2)",
            *(run, started),
        )

    measured = await measure_lateness(stage.stores.main, "default", None, **ALWAYS)

    assert [{"job": "job", "started": 3, "p50_s": 2.0, "p99_s": 9.0, "max_s": 9.0}] == measured


async def test_command_shows_stretches_and_counts(stage: Stage) -> None:
    await outage(stage)

    shown = await stage.command("firings", "--verdict", "misfired")
    assert "×180" in shown
    assert " … " in shown
    assert "later than the catch-up window of 2h" in shown
    assert "held by pacing until about" in await stage.command("firings", "--verdict", "undecided")
    assert "no such firings" in await stage.command("firings", "--until", "2026-03-02")
    assert "×180" in await stage.command("firings", "--since", "2026-03-02", "--until", "2026-03-03")
    assert "is no time, no day and no duration" in await stage.command("firings", "--since", "soon")
    assert "is none of started" in await stage.command("firings", "--verdict", "perhaps")

    window = ["--since", (START - HOUR).isoformat(), "--until", (START + 100 * HOUR).isoformat()]
    document = json.loads(await stage.command("firings", "--stats", *window, "--json"))
    assert {"since", "until", "triggers", "lateness"} == document.keys()
    assert {"merged": 4, "undecided": 1} == document["triggers"][1]["verdicts"]
    table = await stage.command("firings", "--stats", *window)
    assert "misfired" in table
    assert "180" in table


async def test_pages_join_without_a_gap_or_a_repetition(stage: Stage) -> None:
    await outage(stage)

    async def pages(**which: Any) -> list[Any]:
        found: list[Any] = []
        while page := await list_firings(
            stage.stores.main, "default", FiringFilter(limit=1, after=found[-1] if found else None, **which)
        ):
            found += [row["id"] for row in page]
        return found

    rows = {row["id"]: row for row in await list_firings(stage.stores.main, "default", FiringFilter())}
    assert len(rows) == 5
    assert list(rows) == sorted(rows, reverse=True) == await pages()
    both = await pages(verdicts=["merged", "undecided"])
    assert both == [row for row in rows if rows[row]["verdict"] != "misfired"]
    fast = await pages(job="fast")
    assert ["misfired", "merged", None] == [rows[row]["verdict"] for row in reversed(fast)]
    assert [rows[row]["fires_at"] for row in fast] == sorted((rows[row]["fires_at"] for row in fast), reverse=True)


async def test_stretch_of_a_job_counts_for_a_time_that_it_reaches_into(stage: Stage) -> None:
    await outage(stage)

    found = await list_firings(stage.stores.main, "default", FiringFilter(job="fast", since=START + 2 * HOUR))

    assert ["misfired", "merged", None] == [row["verdict"] for row in reversed(found)]
    assert START == found[-1]["fires_at"] - timedelta(minutes=1)
    later = FiringFilter(job="fast", since=START + 4 * HOUR, verdicts=["misfired"])
    assert [] == await list_firings(stage.stores.main, "default", later)


async def test_what_is_held_is_foretold_in_the_order_of_its_release(stage: Stage) -> None:
    ticker = await stage.ticker(per_minute=1)
    await stage.apply(**{f"job{number}": [{"every": f"{number}h"}] for number in (1, 2, 3)})
    stage.clock.jump(START + 6 * HOUR + 45 * SECOND)
    await ticker.tick(stage.stores.main)

    rows = await list_firings(stage.stores.main, "default", FiringFilter(verdicts=["undecided"]))
    until = sorted(row["held_until"] for row in rows if row["held_until"] is not None)

    assert len(until) >= 2
    assert {timedelta(minutes=1)} == {second - first for first, second in itertools.pairwise(until)}
