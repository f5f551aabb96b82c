"""Many triggers due at once: written down ahead, found by the sweep at their instant, verdicts before offers."""

import random
from datetime import timedelta

import pytest

from actors.ticker import Ticker, TickSettings
from scheduler.store.definitions import delete_job
from tests.support.engine import Engine, engine
from tests.support.ticking import START, Stage

AT = START + timedelta(seconds=10)


async def _crowd(stage: Stage) -> Ticker:
    """Return a Ticker for which four triggers are a crowd, planned four seconds ahead, with that crowd applied."""
    settings = TickSettings(crowd=4, plans_per_s=1)
    ticker = Ticker(stage.stores, stage.transport, stage.clock, random.Random(1), settings)
    ticker._publisher = await stage.transport.publisher("ticker")
    stage.actors.append(ticker)
    await stage.apply(**{f"job{number}": [{"at": AT.isoformat()}] for number in range(4)})
    return ticker


async def test_crowd_is_written_down_ahead_and_said_to_nobody(stage: Stage) -> None:
    ticker = await _crowd(stage)
    heard = await stage.transport.consumer("scheduler.dispatcher.firings", credit=10, name="test")
    stage.clock.jump(AT - timedelta(seconds=5))
    assert await ticker._until_next(stage.stores.main) == pytest.approx(1.0)

    stage.clock.jump(AT - timedelta(seconds=3.9))
    await ticker.tick(stage.stores.main)

    assert [(10.0, None, 1, None)] * 4 == await stage.ledger()
    assert await stage.db.fetchval("SELECT bool_and(sweep_at = fires_at) FROM firings")
    await stage.apply(alone=[{"at": (AT + timedelta(seconds=60)).isoformat()}])
    stage.clock.jump(AT + timedelta(seconds=60))
    await ticker.tick(stage.stores.main)
    assert 1 == len(await heard.take(10))


async def test_few_are_planned_shortly_before_their_instant(stage: Stage) -> None:
    ticker = await _crowd(stage)
    await delete_job(stage.stores.main, "default", "job0", clock=stage.clock)

    stage.clock.jump(AT - timedelta(seconds=5))
    assert await ticker._until_next(stage.stores.main) == pytest.approx(4.95)


async def test_pause_takes_back_what_was_written_down_ahead(stage: Stage) -> None:
    ticker = await _crowd(stage)
    stage.clock.jump(AT - timedelta(seconds=3.9))
    await ticker._until_next(stage.stores.main)
    await ticker.tick(stage.stores.main)

    await stage.pause("job0")

    assert [(10.0, None, 1, None)] * 3 == await stage.ledger()
    stage.clock.jump(AT + timedelta(seconds=3))
    await ticker.tick(stage.stores.main)
    assert 3 == await stage.db.fetchval("SELECT count(*) FROM firings")


async def _write(stage: Engine, count: int, due_s: float) -> None:
    await stage.db.execute(
        """INSERT INTO firings (id, tenant, kind, job_id, job_version, fires_at, wall_time, zone, sweep_at)
           SELECT gen_random_uuid(), tenant, 'manual', id, version, now() + $2 * interval '1 second', 'x', 'UTC',
                  now() + $2 * interval '1 second'
           FROM jobs, generate_series(1, $1)""",
        count,
        due_s,
    )


async def _decide_all(stage: Engine) -> None:
    """Sweep until each firing has its verdict; the Dispatcher sweeps by itself, too, and may have the last in hand."""
    while await stage.db.fetchval("SELECT count(*) FROM firings WHERE verdict IS NULL"):
        await stage.dispatcher.sweep(stage.stores.main)


async def test_sweep_says_when_the_next_firing_is_that_nobody_was_told_of(database_url: str) -> None:
    async with engine(database_url, alive=False) as stage:
        await stage.apply(job={"run": {"command": ["true"]}, "overlap": "allow"})
        assert await stage.dispatcher.sweep(stage.stores.main) == pytest.approx(0.2)

        await _write(stage, 1, 1.5)
        assert 0.2 < await stage.dispatcher.sweep(stage.stores.main) <= 1.5
        assert await stage.db.fetchval("SELECT verdict FROM firings") is None


async def test_crowd_is_decided_each_once_and_offered(database_url: str) -> None:
    async with engine(database_url) as stage:
        await stage.apply(job={"run": {"command": ["true"]}, "overlap": "allow"})

        await _write(stage, 2200, 0.0)
        await _decide_all(stage)

        assert await stage.db.fetchval("SELECT count(*) FROM firings WHERE verdict = 'started'") == 2200
        assert await stage.settled(2200) == {"job": ["succeeded"] * 2200}


async def test_crowd_under_a_limit_starts_no_more_than_it_lets(database_url: str) -> None:
    async with engine(database_url, alive=False) as stage:
        await stage.executor.beat()
        await stage.apply(job={"run": {"command": ["true"]}, "overlap": "skip", "max_running": 3})

        await _write(stage, 1100, 0.0)
        await _decide_all(stage)

        verdicts = await stage.db.fetch("SELECT verdict, count(*) FROM firings GROUP BY 1 ORDER BY 1")
        assert [tuple(row) for row in verdicts] == [("skipped_overlap", 1097), ("started", 3)]
