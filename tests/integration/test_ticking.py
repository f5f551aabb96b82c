"""The Ticker on a real database: every planned instant gets one row, whoever ticks and whenever."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from scheduler.store.control import pause_all, pause_job, resume_all, resume_job
from scheduler.store.definitions import delete_job
from scheduler.store.reading import count_health, list_jobs
from tests.support.ticking import START, Stage


async def test_due_triggers_fire_once_each_and_move_on(stage: Stage) -> None:
    ticker = await stage.ticker()
    await stage.apply(job=[{"every": "10s"}])

    for _ in range(3):
        stage.clock.jump(stage.clock.now() + timedelta(seconds=10))
        await ticker.tick(stage.stores.main)
        await ticker.tick(stage.stores.main)

    assert [(10.0, None, 1, None), (20.0, None, 1, None), (30.0, None, 1, None)] == await stage.ledger()


async def test_downtime_ends_in_one_run_and_one_row_for_the_rest(stage: Stage) -> None:
    """Down for three hours and a half: the newest of the missed hours runs, the others are merged into it."""
    ticker = await stage.ticker()
    await stage.apply(job=[{"every": "1h"}])

    stage.clock.jump(START + timedelta(hours=3, minutes=30))
    await ticker.tick(stage.stores.main)

    assert [(3600.0, 7200.0, 2, "merged"), (10800.0, None, 1, None)] == await stage.ledger()


async def test_week_of_downtime_with_a_trigger_every_second_is_a_handful_of_rows(stage: Stage) -> None:
    ticker = await stage.ticker()
    await stage.apply(job=[{"every": "1s", "catch_up": {"window": "1h"}}])

    stage.clock.jump(START + timedelta(days=7))
    await ticker.tick(stage.stores.main)

    rows = await stage.ledger()
    assert 7 * 86400 == sum(count for _, _, count, _ in rows)
    assert len(rows) < 50


async def test_pause_is_in_the_ledger_and_resume_starts_the_newest_missed_one(stage: Stage) -> None:
    ticker = await stage.ticker()
    await stage.apply(job=[{"every": "1h"}])
    await pause_job(stage.stores.main, "default", "job", note="maintenance", clock=stage.clock)

    stage.clock.jump(START + timedelta(hours=4, minutes=1))
    await ticker.tick(stage.stores.main)
    assert [] == await stage.ledger()
    await resume_job(stage.stores.main, "default", "job", clock=stage.clock)
    await ticker.tick(stage.stores.main)

    assert [(3600.0, 10800.0, 3, "paused"), (14400.0, None, 1, None)] == await stage.ledger()


async def test_max_fires_ends_a_trigger(stage: Stage) -> None:
    ticker = await stage.ticker()
    await stage.apply(job=[{"every": "1s", "max_fires": 3}])

    for second in range(1, 10):
        stage.clock.jump(START + timedelta(seconds=second))
        await ticker.tick(stage.stores.main)

    assert [1.0, 2.0, 3.0] == [at for at, _, _, _ in await stage.ledger()]
    assert await stage.db.fetchval("SELECT next_at IS NULL FROM triggers")


async def test_several_tickers_share_the_work_and_plan_nothing_twice(stage: Stage) -> None:
    tickers = [await stage.ticker(batch_size=7) for _ in range(4)]
    await stage.apply(**{f"job{n}": [{"every": "1s"}, {"every": "2s"}] for n in range(50)})

    for second in range(1, 5):
        stage.clock.jump(START + timedelta(seconds=second))
        await asyncio.gather(*(ticker.tick(stage.stores.main) for ticker in tickers))

    rows = await stage.db.fetch("SELECT trigger_id, fires_at, count(*) FROM firings GROUP BY 1, 2")
    assert 50 * (4 + 2) == len(rows)
    assert {1} == {row["count"] for row in rows}


async def test_clock_set_back_plans_nothing_twice(stage: Stage) -> None:
    ticker = await stage.ticker()
    await stage.apply(job=[{"every": "1m"}])
    stage.clock.jump(START + timedelta(minutes=5))
    await ticker.tick(stage.stores.main)
    before = await stage.ledger()

    stage.clock.jump(START + timedelta(minutes=1))
    await ticker.tick(stage.stores.main)
    stage.clock.jump(START + timedelta(minutes=5, seconds=30))
    await ticker.tick(stage.stores.main)

    assert before == await stage.ledger()


async def test_edit_of_another_trigger_keeps_the_cursor(stage: Stage) -> None:
    """A trigger that is not changed neither fires again nor skips when its neighbour is edited."""
    ticker = await stage.ticker()
    await stage.apply(job=[{"every": "10m"}, {"every": "7m", "id": "edited"}])
    stage.clock.jump(START + timedelta(minutes=10))
    await ticker.tick(stage.stores.main)

    await stage.apply(job=[{"every": "10m"}, {"every": "1d", "id": "edited"}])
    stage.clock.jump(START + timedelta(minutes=20))
    await ticker.tick(stage.stores.main)

    assert [420.0, 600.0, 1200.0] == [at for at, _, _, _ in await stage.ledger()]


async def test_trigger_that_cannot_be_read_holds_up_no_other_and_loses_nothing(stage: Stage) -> None:
    ticker = await stage.ticker()
    await stage.apply(odd=[{"every": "1m", "catch_up": {"policy": "all"}}], even=[{"every": "1m"}])
    await stage.zone_of("odd", "Mars/Olympus_Mons")

    with capture_logs() as logs:
        for minute in (1, 2, 7):
            stage.clock.jump(START + timedelta(minutes=minute))
            await ticker.tick(stage.stores.main)

    told = [line for line in logs if line["event"] == "trigger.unplanned"]
    assert [("default", "odd")] == [(line["tenant"], line["job"]) for line in told]
    assert "Mars/Olympus_Mons" in told[0]["error"]
    assert {"even"} == await stage.planned_jobs()
    health = await count_health(stage.stores.main, "default", lease_s=30)
    assert 1 == health["unplanned_triggers"]
    jobs = {row["name"]: row["trouble"] for row in await list_jobs(stage.stores.main, "default")}
    assert jobs["even"] is None
    assert "Mars/Olympus_Mons" in jobs["odd"]

    await stage.zone_of("odd", "UTC")
    stage.clock.jump(START + timedelta(minutes=13))
    await ticker.tick(stage.stores.main)

    rows = await stage.db.fetch(
        "SELECT sum(count) FROM firings AS f JOIN jobs AS j ON j.id = job_id WHERE name = 'odd'"
    )
    assert 13 == rows[0]["sum"]
    assert 0 == (await count_health(stage.stores.main, "default", lease_s=30))["unplanned_triggers"]


async def test_new_times_of_a_trigger_that_could_not_be_read_are_taken(stage: Stage) -> None:
    ticker = await stage.ticker()
    await stage.apply(job=[{"cron": "* * * * *", "id": "t"}])
    await stage.db.execute("UPDATE triggers SET spec = jsonb_set(spec, '{cron}', '\"never\"')")
    stage.clock.jump(START + timedelta(minutes=3))
    await ticker.tick(stage.stores.main)

    await stage.apply(job=[{"cron": "*/2 * * * *", "id": "t"}])
    stage.clock.jump(START + timedelta(minutes=4))
    await ticker.tick(stage.stores.main)

    assert [(180.0, None, 1, "superseded"), (240.0, None, 1, None)] == await stage.ledger()
    reason = await stage.db.fetchval("SELECT reason FROM firings WHERE verdict = 'superseded'")
    assert "cannot be read" in reason


async def test_interval_that_is_deleted_and_comes_back_has_a_new_anchor(stage: Stage) -> None:
    """The same text and the same version, and yet another grid: a Ticker may not plan by the old one."""
    ticker = await stage.ticker()
    await stage.apply(job=[{"every": "10s"}])
    stage.clock.jump(START + timedelta(seconds=10))
    await ticker.tick(stage.stores.main)

    await delete_job(stage.stores.main, "default", "job", clock=stage.clock)
    stage.clock.jump(START + timedelta(seconds=13))
    await stage.apply(job=[{"every": "10s"}])
    stage.clock.jump(START + timedelta(seconds=33))
    await ticker.tick(stage.stores.main)

    assert [10.0, 23.0, 33.0] == [at for at, _, _, _ in await stage.ledger()]


Step = Callable[[Stage], Awaitable[object]]
HOLDS: dict[str, tuple[Step, Step]] = {
    "pause and resume": (lambda stage: stage.pause("job"), lambda stage: stage.resume("job")),
    "disable and enable": (lambda stage: stage.enable("job", enabled=False), lambda stage: stage.enable("job")),
    "pause and resume --all": (
        lambda stage: pause_all(stage.stores.main, "default", clock=stage.clock),
        lambda stage: resume_all(stage.stores.main, "default", clock=stage.clock),
    ),
    "apply enabled: false and true": (
        lambda stage: stage.apply(enabled=False, job=[{"every": "1h"}]),
        lambda stage: stage.apply(job=[{"every": "1h"}]),
    ),
    "apply a trigger with enabled: false and true": (
        lambda stage: stage.apply(job=[{"every": "1h", "enabled": False}]),
        lambda stage: stage.apply(job=[{"every": "1h"}]),
    ),
}


@pytest.mark.parametrize("way", HOLDS)
@pytest.mark.parametrize("policy", ["latest", "none"])
async def test_every_way_back_goes_through_the_same_policy(stage: Stage, way: str, policy: str) -> None:
    """What fell into the hold is one row; with latest the newest of it starts, as after a restart."""
    hold, give_back = HOLDS[way]
    ticker = await stage.ticker()
    stage.catch_up = {"policy": policy}
    await stage.apply(job=[{"every": "1h"}])
    await hold(stage)

    stage.clock.jump(START + timedelta(hours=4, minutes=20))
    await ticker.tick(stage.stores.main)
    assert [] == await stage.ledger()
    await give_back(stage)
    await ticker.tick(stage.stores.main)

    if policy == "latest":
        assert [(3600.0, 10800.0, 3, "paused"), (14400.0, None, 1, None)] == await stage.ledger()
    else:
        assert [(3600.0, 14400.0, 4, "paused")] == await stage.ledger()


async def test_daily_job_missed_in_the_night_runs_once_when_all_is_back(stage: Stage) -> None:
    """Down from 01:50 to 03:30: the job of 02:00 runs at 03:30, and at 02:00 the next day."""
    stage.clock.jump(START.replace(hour=1, minute=50))
    await stage.apply(job=[{"cron": "0 2 * * *"}])

    stage.clock.jump(START.replace(hour=3, minute=30))
    for _ in range(2):
        ticker = await stage.ticker()  # one that has just started
        await ticker.tick(stage.stores.main)
    stage.clock.jump(START.replace(hour=2) + timedelta(days=1))
    await ticker.tick(stage.stores.main)

    two = (START.replace(hour=2) - START).total_seconds()
    assert [(two, None, 1, None), (two + 86400, None, 1, None)] == await stage.ledger()


async def test_clock_set_back_during_a_pause_plans_nothing_twice(stage: Stage) -> None:
    ticker = await stage.ticker()
    await stage.apply(job=[{"every": "1h"}])
    stage.clock.jump(START + timedelta(hours=2))
    await ticker.tick(stage.stores.main)
    await stage.pause("job")

    stage.clock.jump(START + timedelta(minutes=30))
    await stage.resume("job")
    await ticker.tick(stage.stores.main)
    stage.clock.jump(START + timedelta(hours=3))
    await ticker.tick(stage.stores.main)

    ledger = [(3600.0, None, 1, "merged"), (7200.0, None, 1, None), (10800.0, None, 1, None)]
    assert ledger == await stage.ledger()


@pytest.mark.parametrize("paused", [False, True])
async def test_week_of_outage_or_pause_of_a_thousand_fast_triggers_is_a_few_thousand_rows(
    stage: Stage, *, paused: bool
) -> None:
    """600 million instants, counted; the rows say of each stretch what became of it."""
    ticker = await stage.ticker()
    catch_up = {"window": "1h"}
    fast = {f"every{n}": [{"every": "1s", "catch_up": catch_up}] for n in range(500)}
    fast |= {f"cron{n}": [{"cron": "* * * * * *", "seconds": True, "catch_up": catch_up}] for n in range(500)}
    await stage.apply(**fast)

    if paused:
        await pause_all(stage.stores.main, "default", clock=stage.clock)
    stage.clock.jump(START + timedelta(days=7, seconds=45))
    if paused:
        await ticker.tick(stage.stores.main)
        await resume_all(stage.stores.main, "default", clock=stage.clock)
    await ticker.tick(stage.stores.main)

    row = await stage.db.fetchrow("SELECT count(*) AS rows, sum(count) AS instants FROM firings")
    assert 1000 * (7 * 86400 + 45) == row["instants"]
    assert row["rows"] <= 1000 * (31 + 2)
