"""Paced catch-up on a real database: missed firings are let go so many a minute, the urgent first."""

import asyncio
from datetime import timedelta

import pytest

from scheduler.errors import DatabaseUnavailableError
from scheduler.store.control import make_owed_due
from tests.support.ticking import START, Stage

HOUR = timedelta(hours=1)


async def released(stage: Stage) -> list[str]:
    """Return the jobs whose firings nobody holds any more, by name."""
    rows = await stage.db.fetch(
        "SELECT name FROM firings JOIN jobs ON jobs.id = job_id "
        "WHERE held_rank IS NULL AND verdict IS NULL ORDER BY name"
    )
    return [row["name"] for row in rows]


async def initials(stage: Stage) -> str:
    return "".join(name[0] for name in await released(stage))


async def test_what_was_missed_is_let_go_by_the_minute_and_by_priority(stage: Stage) -> None:
    ticker = await stage.ticker(per_minute=6)
    await stage.apply(priority="background", **{f"low{n}": [{"every": "1h"}] for n in range(4)})
    await stage.apply(priority="critical", **{f"a{n}": [{"every": "1h", "max_fires": 1}] for n in range(4)})
    await stage.apply(priority="high", **{f"b{n}": [{"every": "1h", "max_fires": 1}] for n in range(4)})

    stage.clock.jump(START + 1.5 * HOUR)
    await ticker.tick(stage.stores.main)
    assert "aaaabb" == await initials(stage)

    await ticker.tick(stage.stores.main)
    assert len(await released(stage)) == 6

    stage.clock.jump(stage.clock.now() + timedelta(seconds=20))
    await ticker.tick(stage.stores.main)
    assert "aaaabbbb" == await initials(stage)

    stage.clock.jump(stage.clock.now() + timedelta(seconds=60))
    await ticker.tick(stage.stores.main)
    assert len(await released(stage)) == 12


async def test_what_is_punctual_is_never_held(stage: Stage) -> None:
    ticker = await stage.ticker(per_minute=1)
    await stage.apply(**{f"late{n}": [{"every": "1h"}] for n in range(3)}, now=[{"at": (START + 2 * HOUR).isoformat()}])

    stage.clock.jump(START + 1.5 * HOUR)
    await ticker.tick(stage.stores.main)
    stage.clock.jump(START + 2 * HOUR)
    await ticker.tick(stage.stores.main)

    due = await stage.db.fetchval(
        "SELECT count(*) FROM firings WHERE held_rank IS NULL AND fires_at = $1", stage.clock.now()
    )
    assert 4 == due


async def test_deadline_holds_while_a_firing_is_held(stage: Stage) -> None:
    ticker = await stage.ticker(per_minute=1)
    triggers = [{"at": (START + HOUR).isoformat(), "catch_up": {"window": "10m"}}]
    await stage.apply(**{f"job{n}": triggers for n in range(3)})
    stage.clock.jump(START + HOUR + timedelta(minutes=9))
    await ticker.tick(stage.stores.main)
    assert len(await released(stage)) == 1

    stage.clock.jump(START + HOUR + timedelta(minutes=10, seconds=1))
    await ticker.tick(stage.stores.main)

    verdicts = await stage.db.fetch("SELECT verdict, reason, held_rank FROM firings WHERE verdict IS NOT NULL")
    assert ["misfired", "misfired"] == [row["verdict"] for row in verdicts]
    assert all("pacing" in row["reason"] and row["held_rank"] is None for row in verdicts)


async def test_deadline_holds_at_the_verdict_too(stage: Stage) -> None:
    """What was let go in time and found by a Dispatcher only when its deadline had passed does not start."""
    ticker, dispatcher = await stage.ticker(), await stage.dispatcher()
    await stage.apply(late=[{"every": "1h"}], early=[{"every": "1h"}])
    stage.clock.jump(START + 1.5 * HOUR)
    await ticker.tick(stage.stores.main)
    for job, left in (("late", timedelta(seconds=-1)), ("early", HOUR)):
        await stage.db.execute(
            "UPDATE firings SET sweep_at = now(), start_until = now() + $2 "
            "WHERE job_id = (SELECT id FROM jobs WHERE name = $1)",
            *(job, left),
        )

    await dispatcher.sweep(stage.stores.main)

    rows = await stage.db.fetch("SELECT name, verdict FROM firings JOIN jobs ON jobs.id = job_id ORDER BY name")
    assert [("early", "started"), ("late", "misfired")] == [tuple(row) for row in rows]


async def test_several_tickers_spend_one_budget(stage: Stage) -> None:
    tickers = [await stage.ticker(per_minute=10) for _ in range(4)]
    await stage.apply(**{f"job{n}": [{"every": "1h"}] for n in range(40)})

    stage.clock.jump(START + 1.5 * HOUR)
    await asyncio.gather(*(ticker.tick(stage.stores.main) for ticker in tickers))
    assert len(await released(stage)) == 10

    stage.clock.jump(stage.clock.now() + timedelta(seconds=30))
    await asyncio.gather(*(ticker.tick(stage.stores.main) for ticker in tickers))
    assert len(await released(stage)) == 15


async def test_clock_set_back_does_not_stop_the_releases(stage: Stage) -> None:
    ticker = await stage.ticker(per_minute=2)
    await stage.apply(**{f"job{n}": [{"every": "1h"}] for n in range(4)})
    stage.clock.jump(START + 49.5 * HOUR)
    await ticker.tick(stage.stores.main)
    assert len(await released(stage)) == 2

    stage.clock.jump(START + HOUR)
    await ticker.tick(stage.stores.main)
    stage.clock.jump(START + HOUR + timedelta(minutes=1))
    await ticker.tick(stage.stores.main)

    assert len(await released(stage)) == 4


async def test_rebuilding_the_broker_leaves_the_pace(stage: Stage) -> None:
    ticker = await stage.ticker(per_minute=1)
    await stage.apply(**{f"job{n}": [{"every": "1h"}] for n in range(4)})
    stage.clock.jump(START + 1.5 * HOUR)
    await ticker.tick(stage.stores.main)

    assert 1 == (await make_owed_due(stage.stores.main)).firings


async def test_firing_held_past_its_deadline_stops_no_ticker(stage: Stage) -> None:
    """All Tickers were away for longer than the window, and a Dispatcher has looked at what they held."""
    now = await stage.db.fetchval("SELECT now()")
    stage.clock.jump(now - timedelta(minutes=20))
    ticker, dispatcher = await stage.ticker(per_minute=1), await stage.dispatcher()
    missed = [{"at": (now - timedelta(minutes=15)).isoformat(), "catch_up": {"window": "10m"}}]
    await stage.apply(**{f"job{n}": missed for n in range(3)})
    stage.clock.jump(now - timedelta(minutes=10))
    await ticker.tick(stage.stores.main)
    assert len(await released(stage)) == 1

    stage.clock.jump(now)
    await dispatcher.sweep(stage.stores.main)
    await ticker.tick(stage.stores.main)

    rows = await stage.db.fetch("SELECT verdict, held_rank FROM firings")
    assert [("misfired", None)] * 2 == [tuple(row) for row in rows if row["verdict"] is not None]


async def test_runs_are_woken_even_where_nothing_can_be_let_go(stage: Stage) -> None:
    ticker, dispatcher = await stage.ticker(), await stage.dispatcher()
    await stage.apply(job=[{"at": (START + HOUR).isoformat()}])
    stage.clock.jump(START + HOUR)
    await ticker.tick(stage.stores.main)
    await stage.db.execute("UPDATE firings SET sweep_at = now(), start_until = NULL")
    await dispatcher.sweep(stage.stores.main)
    await stage.db.execute("UPDATE runs SET state = 'backing_off', sweep_at = now(), lease_token = NULL")
    await stage.db.execute("ALTER TABLE ticking RENAME paced_until TO gone")

    ticker._pacing["main"].holds = True
    with pytest.raises(DatabaseUnavailableError):
        await ticker.tick(stage.stores.main)

    assert await stage.db.fetchval("SELECT state FROM runs") == "ready"


async def test_what_a_paused_job_holds_waits_for_its_resume_and_costs_nothing(stage: Stage) -> None:
    ticker = await stage.ticker(per_minute=1)
    await stage.apply(priority="critical", first=[{"at": (START + HOUR).isoformat()}])
    await stage.apply(priority="high", paused=[{"at": (START + HOUR).isoformat()}])
    await stage.apply(last=[{"at": (START + HOUR).isoformat()}])
    stage.clock.jump(START + 1.5 * HOUR)
    await ticker.tick(stage.stores.main)
    await stage.pause("paused")

    stage.clock.jump(stage.clock.now() + timedelta(minutes=1))
    await ticker.tick(stage.stores.main)
    assert ["first", "last"] == await released(stage)

    await stage.resume("paused")
    stage.clock.jump(stage.clock.now() + timedelta(minutes=1))
    await ticker.tick(stage.stores.main)
    assert ["first", "last", "paused"] == await released(stage)


async def test_what_a_changed_or_removed_trigger_holds_is_superseded(stage: Stage) -> None:
    ticker = await stage.ticker(per_minute=1)
    await stage.apply(priority="critical", first=[{"at": (START + HOUR).isoformat()}])
    old = [{"id": "kept", "at": (START + HOUR).isoformat()}, {"every": "1h"}]
    await stage.apply(job=old)
    stage.clock.jump(START + 1.5 * HOUR)
    await ticker.tick(stage.stores.main)

    await stage.apply(job=[{"id": "kept", "at": (START + 5 * HOUR).isoformat()}])

    rows = await stage.db.fetch("SELECT verdict, reason FROM firings WHERE verdict IS NOT NULL ORDER BY reason")
    assert [
        ("superseded", "the trigger was changed before this was let go"),
        ("superseded", "the trigger was removed before this was let go"),
    ] == [tuple(row) for row in rows]


@pytest.mark.parametrize(("policy", "at_once"), [("latest", 3), ("all", 4)])
async def test_outage_of_fast_triggers_starts_no_more_at_once_than_one_each(
    stage: Stage, policy: str, at_once: int
) -> None:
    """And what the budget allows: one; by the latest, nothing is left for it."""
    ticker = await stage.ticker(per_minute=1)
    stage.catch_up = {"policy": policy}
    await stage.apply(**{f"job{n}": [{"every": "1s"}] for n in range(3)})

    stage.clock.jump(START + timedelta(minutes=10))
    await ticker.tick(stage.stores.main)

    assert at_once == len(await released(stage))
