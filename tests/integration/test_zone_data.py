"""Zone data of several versions on a real database: what older data computed is computed anew."""

from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from scheduler.domain.zones import TZDATA_VERSION
from scheduler.store.reading import count_health
from tests.support.ticking import START, Stage

OLD = "2019c"
NEWER = "2999z"


async def become_old(stage: Stage, next_at: datetime) -> None:
    """Leave the rows as a program with older data would have: another instant, its version."""
    await stage.db.execute("UPDATE triggers SET next_at = $1, tzdata = $2", next_at, OLD)
    await stage.db.execute("UPDATE ticking SET tzdata = $1", OLD)


@pytest.fixture
async def right(stage: Stage) -> datetime:
    """Return the right instant of a daily trigger that is applied."""
    await stage.apply(job=[{"cron": "0 9 * * *", "timezone": "America/Vancouver"}])
    at: datetime = await stage.db.fetchval("SELECT next_at FROM triggers")
    return at


@pytest.mark.parametrize("wrong_by", [timedelta(hours=1), timedelta(hours=-1)], ids=["late", "early"])
async def test_next_instant_by_older_data_is_computed_anew_at_the_start(
    stage: Stage, right: datetime, wrong_by: timedelta
) -> None:
    await become_old(stage, right + wrong_by)
    ticker = await stage.ticker()

    await ticker.mind_zone_data(stage.stores.main)

    row = await stage.db.fetchrow("SELECT next_at, tzdata, (SELECT tzdata FROM ticking) AS stored FROM triggers")
    assert (right, TZDATA_VERSION, TZDATA_VERSION) == tuple(row)
    stage.clock.jump(right)
    await ticker.tick(stage.stores.main)
    fired = await stage.db.fetch("SELECT fires_at, wall_time, zone, tzdata FROM firings")
    assert [(right, f"{right.astimezone(UTC).date()}T09:00:00", "America/Vancouver", TZDATA_VERSION)] == [
        tuple(row) for row in fired
    ]


async def test_wall_time_that_fired_is_not_fired_again(stage: Stage, right: datetime) -> None:
    """By the old data 09:00 came an hour earlier, and fired; by the new data it is still to come today."""
    ticker = await stage.ticker()
    early = right - timedelta(hours=1)
    await become_old(stage, right + timedelta(hours=23))
    await stage.db.execute(
        "INSERT INTO firings (id, tenant, kind, trigger_id, job_id, job_version, fires_at, wall_time, zone, sweep_at) "
        "SELECT gen_random_uuid(), tenant, 'time', id, job_id, 1, $1, $2, 'America/Vancouver', now() FROM triggers",
        early,
        f"{right.date()}T09:00:00",
    )
    await stage.db.execute("UPDATE triggers SET last_at = $1", early)

    stage.clock.jump(early + timedelta(minutes=10))
    await ticker.mind_zone_data(stage.stores.main)

    assert right + timedelta(days=1) == await stage.db.fetchval("SELECT next_at FROM triggers")


async def test_what_is_due_already_is_planned_by_the_new_data(stage: Stage, right: datetime) -> None:
    ticker = await stage.ticker()
    await become_old(stage, right - timedelta(hours=1))

    stage.clock.jump(right - timedelta(minutes=30))
    await ticker.mind_zone_data(stage.stores.main)
    await ticker.tick(stage.stores.main)

    assert [] == await stage.ledger()
    assert right == await stage.db.fetchval("SELECT next_at FROM triggers")


async def test_pause_is_still_in_the_ledger_after_a_change_of_data(stage: Stage, right: datetime) -> None:
    await stage.pause("job")
    await become_old(stage, right + timedelta(hours=1))
    ticker = await stage.ticker()
    stage.clock.jump(right + timedelta(days=2, hours=1))

    await ticker.mind_zone_data(stage.stores.main)
    await stage.resume("job")
    await ticker.tick(stage.stores.main)

    first = (right - START).total_seconds()
    assert [(first, first + 86400, 2, "paused"), (first + 2 * 86400, None, 1, None)] == await stage.ledger()


async def test_ticker_with_older_data_stands_aside_until_the_newer_is_gone(stage: Stage) -> None:
    main = stage.stores.main
    await stage.apply(job=[{"every": "10s"}])
    older, newer = await stage.ticker(zone_data=OLD), await stage.ticker(zone_data=NEWER)
    stage.clock.jump(START + timedelta(seconds=10))

    await newer.mind_zone_data(main)
    with capture_logs() as logs:
        for _ in range(3):
            await older.mind_zone_data(main)
            await older.tick(main)
    assert ["ticker.stood_aside"] == [line["event"] for line in logs if line["log_level"] == "warning"]
    assert [] == await stage.ledger()
    assert await older._until_next(main) > 1  # what is due is another's: no reason to look again at once
    assert [OLD, NEWER] == (await count_health(main, "default", lease_s=30))["zone_data"]

    await newer.mind_zone_data(main)
    assert {NEWER} == {row["tzdata"] for row in await stage.db.fetch("SELECT tzdata FROM triggers")}
    await newer.stop()
    await older.mind_zone_data(main)
    await older.tick(main)
    assert [(10.0, None, 1, None)] == await stage.ledger()
    assert [OLD] == (await count_health(main, "default", lease_s=30))["zone_data"]


async def test_what_is_applied_by_a_program_with_older_data_is_computed_anew(stage: Stage, right: datetime) -> None:
    ticker = await stage.ticker()
    await ticker.mind_zone_data(stage.stores.main)
    await stage.db.execute("UPDATE ticking SET tzdata = $1", "2998a")

    await stage.apply(other=[{"cron": "0 9 * * *", "timezone": "America/Vancouver"}])

    assert await stage.db.fetchval("SELECT tzdata FROM ticking") is None
    await stage.db.execute("UPDATE triggers SET next_at = next_at - interval '1 hour', tzdata = $1", OLD)
    await ticker.mind_zone_data(stage.stores.main)
    assert [right, right] == [row["next_at"] for row in await stage.db.fetch("SELECT next_at FROM triggers")]


async def test_firing_that_new_data_move_to_earlier_today_is_caught_up(stage: Stage, right: datetime) -> None:
    ticker = await stage.ticker()
    await become_old(stage, right + timedelta(hours=1))

    stage.clock.jump(right + timedelta(minutes=30))
    await ticker.mind_zone_data(stage.stores.main)
    await ticker.tick(stage.stores.main)

    assert [((right - START).total_seconds(), None, 1, None)] == await stage.ledger()


async def test_wall_times_that_fired_by_old_data_get_no_second_row(stage: Stage) -> None:
    """By the old data both came an hour earlier, and fired."""
    await stage.apply(job=[{"cron": "0,30 9 * * *", "timezone": "America/Vancouver"}])
    at = await stage.db.fetchval("SELECT next_at FROM triggers")
    ticker = await stage.ticker()
    for wall, late in (("09:00", timedelta(0)), ("09:30", timedelta(minutes=30))):
        await stage.db.execute(
            "INSERT INTO firings (id, tenant, kind, trigger_id, job_id, job_version, fires_at, wall_time, zone, "
            "sweep_at) SELECT gen_random_uuid(), tenant, 'time', id, job_id, 1, $1, $2, 'America/Vancouver', now() "
            "FROM triggers",
            *(at + late - timedelta(hours=1), f"{at.date()}T{wall}:00"),
        )
    await stage.db.execute("UPDATE triggers SET last_at = $1", at - timedelta(minutes=30))
    await become_old(stage, at + timedelta(hours=23))

    stage.clock.jump(at - timedelta(minutes=20))
    await ticker.mind_zone_data(stage.stores.main)
    stage.clock.jump(at + timedelta(days=1))
    await ticker.tick(stage.stores.main)

    planned = await stage.db.fetch("SELECT fires_at FROM firings ORDER BY fires_at OFFSET 2")
    assert [at + timedelta(days=1)] == [row["fires_at"] for row in planned]


async def test_second_pass_of_a_repeated_hour_is_no_moved_firing(stage: Stage) -> None:
    first = datetime(2026, 11, 1, 5, 30, tzinfo=UTC)
    stage.clock.jump(first - timedelta(minutes=10))
    await stage.apply(job=[{"cron": "30 * * * *", "timezone": "America/New_York"}])
    ticker = await stage.ticker()
    stage.clock.jump(first)
    await ticker.tick(stage.stores.main)

    await become_old(stage, first + timedelta(hours=1))
    stage.clock.jump(first + timedelta(minutes=10))
    await ticker.mind_zone_data(stage.stores.main)

    assert first + timedelta(hours=1) == await stage.db.fetchval("SELECT next_at FROM triggers")


async def test_what_a_trigger_in_trouble_missed_outlives_new_data(stage: Stage, right: datetime) -> None:
    ticker = await stage.ticker()
    again = right + timedelta(days=2, minutes=10)
    await stage.db.execute("UPDATE triggers SET trouble = 'its definition cannot be read'")
    await become_old(stage, again)

    stage.clock.jump(again - timedelta(minutes=5))
    await ticker.mind_zone_data(stage.stores.main)
    stage.clock.jump(again)
    await ticker.tick(stage.stores.main)

    first = (right - START).total_seconds()
    assert [(first, first + 86400, 2, "merged"), (first + 2 * 86400, None, 1, None)] == await stage.ledger()
