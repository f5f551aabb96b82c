"""Backfills of calendar triggers: by the calendar in force at each instant, as by the definition."""

from datetime import UTC, datetime, timedelta

from scheduler.definitions.model import Definitions
from scheduler.store.backfill import Wanted, start_backfill
from scheduler.store.definitions import apply
from schemas.calendar_spec import CalendarSpec
from schemas.job_spec import JobSpec
from tests.support.engine import engine

START = datetime(2026, 3, 1, 2, tzinfo=UTC)
DAY = timedelta(days=1)
DAILY = {"calendar": {"business_day": "every", "at": "02:00", "calendar": "own"}}


async def test_calendar_in_force_at_each_instant_is_used(database_url: str) -> None:
    async with engine(database_url) as stage:
        jobs = {"report": JobSpec.model_validate({"run": {"command": ["true"]}, "triggers": [DAILY]})}
        for closed in ([], ["2026-03-03", "2026-03-05"]):
            calendars = {"own": CalendarSpec.model_validate({"closed": closed})}
            wanted = Definitions("default", None, jobs, {}, (), calendars=calendars)
            await apply(stage.stores.main, wanted, prune=False, clock=stage.clock)
        await stage.db.execute("UPDATE job_versions SET applied_at = $1", START - DAY)
        await stage.db.execute("UPDATE calendar_versions SET applied_at = $1 WHERE version = 1", START - DAY)
        await stage.db.execute("UPDATE calendar_versions SET applied_at = $1 WHERE version = 2", START + 3 * DAY)
        await stage.db.execute("UPDATE triggers SET last_at = $1", START + 9 * DAY)

        wanted_days = Wanted("report", since=START, until=START + 5 * DAY)
        found = await start_backfill(stage.stores.main, "default", wanted_days, dry_run=True, clock=stage.clock)

        assert [START + DAY * number for number in (1, 2, 3, 5)] == [instant.fires_at for instant in found.instants]
