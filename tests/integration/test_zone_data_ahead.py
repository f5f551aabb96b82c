"""What a program with older zone data has written down before its instant is planned anew by the newer data."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from scheduler.clock import SystemClock
from scheduler.domain.zones import TZDATA_VERSION
from scheduler.roles import ACTOR_ROLES
from scheduler.store.doorbell import WAKE, Doorbell
from scheduler.store.roles import as_role
from scheduler.store.stores import Store, Stores
from tests.support.ticking import Stage

OLD = "2019c"
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
WRITE = """
INSERT INTO firings (id, tenant, kind, trigger_id, job_id, job_version, fires_at, wall_time, zone, verdict, decided_at,
                     sweep_at, tzdata)
SELECT gen_random_uuid(), tenant, 'time', id, job_id, job_version, $1, $2, 'America/Vancouver', $3::text,
       CASE WHEN $3::text IS NOT NULL THEN now() END, CASE WHEN $3::text IS NULL THEN now() + interval '1 hour' END, $4
FROM triggers
"""


@pytest.fixture
async def main(database_url: str) -> AsyncIterator[Store]:
    """The database as a Ticker's role sees it."""
    stores = await Stores.open(as_role(database_url, ACTOR_ROLES["ticker"]), name="ticker", size=2)
    yield stores.main
    await stores.close()


async def apply(stage: Stage, **more: object) -> datetime:
    """Apply a job that fires at nine in Vancouver, and return when that is."""
    await stage.apply(job=[{"cron": "0 9 * * *", "timezone": "America/Vancouver", **more}])
    at: datetime = await stage.db.fetchval("SELECT next_at FROM triggers")
    return at


async def write(stage: Stage, at: datetime, day: datetime, verdict: str | None = None, tzdata: str = OLD) -> None:
    await stage.db.execute(WRITE, at, f"{day.date()}T09:00:00", verdict, tzdata)


async def write_ahead(stage: Stage, at: datetime, day: datetime, *, next_at: datetime | None) -> None:
    """Leave the rows of a program whose older data take ``at`` for nine o'clock of ``day``, five seconds before."""
    await write(stage, at, day)
    await stage.db.execute("UPDATE triggers SET last_at = $1, next_at = $2, fired = 1, tzdata = $3", at, next_at, OLD)
    await stage.db.execute("UPDATE ticking SET tzdata = $1", OLD)
    stage.clock.jump(at - 5 * SECOND)


async def planned(stage: Stage) -> list[tuple[datetime, str]]:
    """Return (instant, zone data) of the ledger, ascending."""
    rows = await stage.db.fetch("SELECT fires_at, tzdata FROM firings ORDER BY fires_at")
    return [(row["fires_at"].astimezone(UTC), row["tzdata"]) for row in rows]


async def test_firing_that_comes_later_by_the_new_data_waits_for_its_instant(stage: Stage, main: Store) -> None:
    right = await apply(stage)
    await write_ahead(stage, right - HOUR, right, next_at=right + DAY - HOUR)
    ticker = await stage.ticker()

    await ticker.mind_zone_data(main)

    assert [] == await planned(stage)
    row = await stage.db.fetchrow("SELECT next_at, fired, tzdata FROM triggers")
    assert (right, 0, TZDATA_VERSION) == tuple(row)
    stage.clock.jump(right)
    await ticker.tick(stage.stores.main)
    assert [(right, TZDATA_VERSION)] == await planned(stage)
    assert right + DAY == await stage.db.fetchval("SELECT next_at FROM triggers")


async def test_firing_that_came_earlier_by_the_new_data_is_caught_up(stage: Stage, main: Store) -> None:
    right = await apply(stage)
    await write(stage, right, right, "skipped_overlap", TZDATA_VERSION)
    await write_ahead(stage, right + DAY + HOUR, right + DAY, next_at=right + 2 * DAY + HOUR)
    ticker = await stage.ticker()

    await ticker.mind_zone_data(main)
    await ticker.tick(stage.stores.main)

    assert [(right, TZDATA_VERSION), (right + DAY, TZDATA_VERSION)] == await planned(stage)
    assert right + 2 * DAY == await stage.db.fetchval("SELECT next_at FROM triggers")


async def test_what_was_edited_since_makes_up_for_nothing(stage: Stage, main: Store) -> None:
    """The row before belongs to another definition: from it on, the new one has instants that were never meant."""
    right = await apply(stage)
    await write(stage, right - 10 * DAY, right - 10 * DAY, "skipped_overlap", TZDATA_VERSION)
    await stage.db.execute("UPDATE firings SET job_version = 0")
    await write_ahead(stage, right - HOUR, right, next_at=right + DAY - HOUR)
    ticker = await stage.ticker()

    await ticker.mind_zone_data(main)

    assert right == await stage.db.fetchval("SELECT next_at FROM triggers")


async def test_last_firing_of_all_is_not_lost(stage: Stage, main: Store) -> None:
    right = await apply(stage, max_fires=1)
    await write_ahead(stage, right - HOUR, right, next_at=None)
    ticker = await stage.ticker()

    await ticker.mind_zone_data(main)
    stage.clock.jump(right)
    await ticker.tick(stage.stores.main)

    assert [(right, TZDATA_VERSION)] == await planned(stage)
    assert (1, None) == tuple(await stage.db.fetchrow("SELECT fired, next_at FROM triggers"))


@pytest.mark.parametrize("max_fires", [1, 2])
async def test_what_is_decided_already_stays_and_does_not_come_again(stage: Stage, main: Store, max_fires: int) -> None:
    right = await apply(stage, max_fires=max_fires)
    following = None if max_fires == 1 else right + DAY
    await write_ahead(stage, right - HOUR, right, next_at=following and following - HOUR)
    await stage.db.execute("UPDATE firings SET verdict = 'skipped_overlap', decided_at = now(), sweep_at = NULL")
    ticker = await stage.ticker()

    await ticker.mind_zone_data(main)

    assert [(right - HOUR, OLD)] == await planned(stage)
    assert (following, 1) == tuple(await stage.db.fetchrow("SELECT next_at, fired FROM triggers"))


async def test_ticker_is_woken_by_what_was_computed_anew(stage: Stage, main: Store) -> None:
    """What the new data place a second from now must not wait for the next look."""
    right = await apply(stage)
    await write_ahead(stage, right - HOUR, right, next_at=right + DAY - HOUR)
    ticker = await stage.ticker()

    async with Doorbell(main.dsn, WAKE, name="test") as bell:
        await ticker.mind_zone_data(main)
        assert [(WAKE, "")] == await bell.wait(SystemClock(), 5.0)
