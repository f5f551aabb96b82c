"""What is planned ahead of its instant, beside outages, edits, rows nobody can read and other sweeps."""

import random
from datetime import timedelta
from typing import Any

from actors.ticker import Ticker, TickSettings
from scheduler.clock import SystemClock
from scheduler.definitions.model import Definitions
from scheduler.store.control import make_owed_due
from scheduler.store.definitions import apply
from scheduler.store.rehearsal import rehearse
from schemas.calendar_spec import CalendarSpec
from schemas.definitions_file import PoolSpec
from schemas.job_spec import JobSpec
from tests.support.engine import engine
from tests.support.ticking import START, Stage

TRUE = {"command": ["true"]}


async def _ticker(stage: Stage, **settings: object) -> Ticker:
    ticker = Ticker(stage.stores, stage.transport, stage.clock, random.Random(1), TickSettings(**settings))  # type: ignore[arg-type]
    ticker._publisher = await stage.transport.publisher("ticker")
    stage.actors.append(ticker)
    return ticker


async def _apply_with_calendar(stage: Stage, job: dict[str, Any], closed: list[str]) -> None:
    calendar = CalendarSpec.model_validate({"weekend": [], "closed": closed})
    wanted = Definitions("default", None, {"job": JobSpec.model_validate(job)}, {}, (), calendars={"own": calendar})
    await apply(stage.stores.main, wanted, prune=False, clock=stage.clock)


async def test_pacing_starts_nothing_before_its_instant(stage: Stage) -> None:
    ticker = await _ticker(stage, crowd=4, plans_per_s=1)
    stage.catch_up = {"policy": "all"}
    await stage.apply(**{f"job{n}": [{"every": "1s"}] for n in range(4)})
    stage.clock.jump(START + timedelta(seconds=1))
    await ticker.tick(stage.stores.main)
    await ticker._until_next(stage.stores.main)  # a crowd: 4 s ahead

    stage.clock.jump(START + timedelta(seconds=100))  # the database was away
    await ticker.tick(stage.stores.main)

    now = stage.clock.now()
    early = await stage.db.fetchval(
        "SELECT count(*) FROM firings WHERE held_rank IS NULL AND fires_at > $1 AND sweep_at > now() - interval '1 s'"
        " AND sweep_at < now() + interval '1 minute'",
        now,
    )
    assert early == 0, f"{early} firings let go up to 4 s before their instant"


async def test_nothing_of_the_future_is_held_by_pacing(stage: Stage) -> None:
    ticker = await _ticker(stage, crowd=4, plans_per_s=1, per_minute=1)
    stage.catch_up = {"policy": "all"}
    await stage.apply(**{f"job{n}": [{"every": "1s"}] for n in range(4)})
    stage.clock.jump(START + timedelta(seconds=1))
    await ticker.tick(stage.stores.main)
    await ticker._until_next(stage.stores.main)

    stage.clock.jump(START + timedelta(seconds=100))
    await ticker.tick(stage.stores.main)

    held = "SELECT count(*) FROM firings WHERE held_rank IS NOT NULL AND fires_at > $1"
    assert await stage.db.fetchval(held, stage.clock.now()) == 0


async def test_latest_merges_nothing_that_is_still_to_come(stage: Stage) -> None:
    ticker = await _ticker(stage, crowd=4, plans_per_s=1)
    await stage.apply(**{f"job{n}": [{"every": "1s"}] for n in range(4)})
    stage.clock.jump(START + timedelta(seconds=1))
    await ticker.tick(stage.stores.main)
    await ticker._until_next(stage.stores.main)

    stage.clock.jump(START + timedelta(seconds=100))
    await ticker.tick(stage.stores.main)

    rows = await stage.db.fetch(
        "SELECT DISTINCT fires_at, to_at, verdict FROM firings WHERE fires_at > $1 OR to_at > $1 OR verdict IS NULL",
        stage.clock.now(),
    )
    assert not [tuple(row) for row in rows if row["verdict"] == "merged"]


async def test_unreadable_firings_in_a_crowd_do_not_slow_the_others(database_url: str) -> None:
    async with engine(database_url) as stage:
        await stage.apply(
            job={"run": {"command": ["true"]}, "overlap": "allow"},
            odd={"run": {"command": ["true"]}, "overlap": "allow"},
        )
        await stage.db.execute(
            """UPDATE job_versions SET spec = jsonb_set(spec, '{overlap}', '"perhaps"')
               WHERE job_id = (SELECT id FROM jobs WHERE name = 'odd')"""
        )
        await stage.db.execute("UPDATE tenants SET revision = revision + 1")
        await stage.db.execute(
            """INSERT INTO firings (id, tenant, kind, job_id, job_version, fires_at, wall_time, zone, sweep_at)
               SELECT gen_random_uuid(), tenant, 'manual', id, version, now(), 'x', 'UTC',
                      now() + n * interval '1 ms' - interval '1 minute'
               FROM jobs, generate_series(1, 2200) AS n WHERE name = CASE WHEN n % 100 = 0 THEN 'odd' ELSE 'job' END"""
        )
        overdue = "SELECT count(*) FROM firings WHERE verdict IS NULL AND sweep_at <= now()"
        await stage.until(overdue, holds=lambda left: left == 0)  # within a few sweeps: not one firing each

        said = "SELECT count(*), count(*) FILTER (WHERE verdict = 'started') FROM firings"
        assert tuple(await stage.db.fetchrow(said)) == (2200, 2178)


async def test_deadline_holds_while_no_dispatcher_is_there(stage: Stage) -> None:
    ticker, dispatcher = await stage.ticker(), await stage.dispatcher()
    stage.catch_up = {"window": "10m"}
    now = SystemClock().now()
    stage.clock.jump(now)
    await stage.apply(job=[{"every": "1h"}])
    stage.clock.jump(now + timedelta(hours=1))
    await ticker.tick(stage.stores.main)
    # two hours later by the database's clock, a Dispatcher is back
    await stage.db.execute(
        "UPDATE firings SET fires_at = fires_at - interval '4 hours', sweep_at = sweep_at - interval '4 hours', "
        "planned_at = planned_at - interval '4 hours', start_until = start_until - interval '4 hours'"
    )
    await dispatcher.sweep(stage.stores.main)

    assert await stage.db.fetchval("SELECT verdict FROM firings") == "misfired"


async def test_day_that_a_new_calendar_opens_within_the_lead_fires(stage: Stage) -> None:
    ticker = await _ticker(stage, crowd=1, plans_per_s=1000)
    job = {"run": TRUE, "triggers": [{"calendar": {"date": "03-02", "at": "12:00:20", "calendar": "own"}}]}

    await _apply_with_calendar(stage, job, closed=["2026-03-02"])
    stage.clock.jump(START + timedelta(seconds=15))
    ticker._ahead[stage.stores.main.name] = timedelta(seconds=10)
    await ticker.tick(stage.stores.main)
    assert [(20.0, None, 1, "skipped_calendar")] == await stage.ledger()

    await _apply_with_calendar(stage, job, closed=[])
    stage.clock.jump(START + timedelta(seconds=20))
    await ticker.tick(stage.stores.main)
    assert [(20.0, None, 1, None)] == await stage.ledger()


async def test_poison_in_a_crowd_is_isolated(database_url: str) -> None:
    async with engine(database_url, alive=False) as stage:
        await stage.executor.beat()
        await stage.apply(job={"run": TRUE, "overlap": "allow"})
        await stage.db.execute("ALTER TABLE runs ADD CHECK (coalesce(params ->> 'x', '') <> 'bad')")
        await stage.db.execute(
            """INSERT INTO firings (id, tenant, kind, job_id, job_version, fires_at, wall_time, zone, sweep_at,
                                    params)
               SELECT gen_random_uuid(), tenant, 'manual', id, version, now(), 'x', 'UTC',
                      now() - interval '1 minute' + n * interval '1 ms',
                      CASE WHEN n IN (700, 1300) THEN '{"x": "bad"}' END::jsonb
               FROM jobs, generate_series(1, 2200) AS n"""
        )
        started = "SELECT count(*) FROM firings WHERE verdict = 'started'"
        await stage.until(started, holds=lambda count: count == 2198)

        postponed = "SELECT count(*) FROM firings WHERE verdict IS NULL AND sweep_at > now() + interval '2 s'"
        await stage.until(postponed, holds=lambda count: count == 2)


async def test_plan_of_a_file_with_pools(stage: Stage) -> None:
    job = JobSpec.model_validate({"run": TRUE, "pool": "small"})
    wanted = Definitions("default", None, {"job": job}, {"small": PoolSpec()}, ())
    result, _ = await rehearse(stage.stores.main, wanted, prune=False, clock=stage.clock)
    assert result.created == ["job"]


async def test_a_calendar_moves_only_triggers_that_are_held(stage: Stage) -> None:
    """take_back of a new calendar takes the job's other triggers too, which nobody has locked."""
    ticker = await _ticker(stage)
    job = {
        "run": TRUE,
        "overlap": "allow",
        "triggers": [
            {"calendar": {"date": "12-24", "at": "12:00", "calendar": "own"}},
            {"id": "fast", "every": "1s", "max_fires": 100},
        ],
    }

    await _apply_with_calendar(stage, job, closed=[])
    stage.clock.jump(START + timedelta(seconds=5.5))
    ticker._ahead[stage.stores.main.name] = timedelta(seconds=3)
    await ticker.tick(stage.stores.main)
    await _apply_with_calendar(stage, job, closed=["2026-12-24"])
    await ticker.tick(stage.stores.main)
    assert await stage.db.fetchval("SELECT fired FROM triggers WHERE key = 'fast'") == await stage.db.fetchval(
        "SELECT count(*) FROM firings JOIN triggers t ON t.id = trigger_id WHERE t.key = 'fast'"
    )


async def test_resend_starts_nothing_before_its_instant(database_url: str) -> None:
    async with engine(database_url, alive=False) as stage:
        await stage.apply(job={"run": {"command": ["true"]}})
        await stage.db.execute(
            """INSERT INTO firings (id, tenant, kind, job_id, job_version, fires_at, wall_time, zone, sweep_at)
               SELECT gen_random_uuid(), tenant, 'manual', id, version, now() + interval '1 hour', 'x', 'UTC',
                      now() + interval '1 hour' FROM jobs"""
        )

        await make_owed_due(stage.stores.main)

        assert await stage.db.fetchval("SELECT sweep_at = fires_at FROM firings")


async def test_nothing_is_planned_while_nobody_decides(stage: Stage) -> None:
    ticker = await stage.ticker()
    await stage.apply(job=[{"every": "1s"}])
    stage.clock.jump(START + timedelta(seconds=1))
    await ticker.tick(stage.stores.main)
    await stage.db.execute("UPDATE firings SET sweep_at = now() - interval '6 minutes'")
    assert await ticker._until_next(stage.stores.main) == 5.0

    stage.clock.jump(START + timedelta(days=7))
    await ticker.tick(stage.stores.main)
    assert await stage.db.fetchval("SELECT count(*) FROM firings") == 1

    await stage.db.execute("UPDATE firings SET sweep_at = now() + interval '1 second'")
    assert await ticker._until_next(stage.stores.main) == 0.0
    await ticker.tick(stage.stores.main)
    counts = await stage.db.fetch("SELECT count FROM firings ORDER BY fires_at")
    assert [row["count"] for row in counts] == [1, 7 * 86_400 - 2, 1]


async def test_crowd_whose_rest_another_dispatcher_decides_is_over(stage: Stage) -> None:
    dispatcher = await stage.dispatcher()
    desk = dispatcher._desks["main"]
    await desk.crowd(is_there=True)

    again_s = await dispatcher.sweep(stage.stores.main)

    assert (desk.is_crowded, again_s > 0) == (False, True)
