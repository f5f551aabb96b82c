"""Backfills by the definition that was in force at each instant."""

from datetime import timedelta

from tests.support.backfilling import DAY, START, ask, days, ledger
from tests.support.engine import engine


async def test_definition_in_force_at_each_instant_is_used(database_url: str) -> None:
    async with engine(database_url) as stage:
        old = {
            "run": {"command": ["old", "{{ params.x }}"]},
            "triggers": [{"id": "daily", "cron": "0 2 * * *", "params": {"x": "{{ run.fired_at }}"}}],
        }
        await stage.apply(report=old, after={"run": {"command": ["old"]}, "needs": ["report"]})
        new = {"run": {"command": ["new"]}, "triggers": [{"id": "daily", "cron": "0 2 * * *"}]}
        await stage.apply(report=new, after={"run": {"command": ["new"]}, "needs": ["report"]})
        await stage.db.execute("UPDATE job_versions SET applied_at = $1 WHERE version = 1", START - DAY)
        await stage.db.execute("UPDATE job_versions SET applied_at = $1 WHERE version = 2", START + DAY)

        found = await ask(stage, until=START + DAY)

        assert [(1, True), (2, True)] == [(i.job_version, i.in_force) for i in found.instants]
        await stage.settled(4)
        done = sorted((offer.order.job, offer.order.work.argv) for offer in stage.executor.offers)  # type: ignore[union-attr]
        assert [
            ("after", ("new",)),
            ("after", ("old",)),
            ("report", ("new",)),
            ("report", ("old", START.isoformat())),
        ] == done


async def test_edit_of_the_times_leaves_the_past_as_it_was_planned(database_url: str) -> None:
    async with engine(database_url) as stage:
        for hour in (13, 14):
            await stage.apply(report={"run": {"command": ["true"]}, "triggers": [{"cron": f"0 {hour} * * *"}]})
        first = START.replace(hour=13)
        await stage.db.execute("UPDATE job_versions SET applied_at = $1 WHERE version = 1", START - DAY)
        await stage.db.execute("UPDATE job_versions SET applied_at = $1 WHERE version = 2", first + 4 * DAY)
        for day in range(4):
            await ledger(
                stage, "paused" if day == 2 else "started", first + day * DAY, where="t.removed_at IS NOT NULL"
            )

        found = await ask(stage, until=first + 5 * DAY, dry_run=True)

        assert [(first + 2 * DAY, 1, "paused"), (first + 4 * DAY + timedelta(hours=1), 2, None)] == [
            (instant.fires_at, instant.job_version, instant.verdict) for instant in found.instants
        ]


async def test_moment_of_the_apply_is_no_instant_and_max_fires_holds(database_url: str) -> None:
    async with engine(database_url) as stage:
        hourly = [{"every": "1h", "id": "hourly"}, {"id": "daily", "cron": "0 2 * * *", "max_fires": 3}]
        await stage.apply(report={"run": {"command": ["true"]}, "triggers": hourly})
        await stage.db.execute("UPDATE triggers SET anchor_at = $1 WHERE key = 'hourly'", START)
        await stage.db.execute("UPDATE triggers SET fired = 1 WHERE key = 'daily'")
        await ledger(stage, "started", START)

        found = await ask(stage, until=START + 4 * DAY, dry_run=True)

        daily = [instant.fires_at for instant in found.instants if instant.trigger == "daily"]
        hours = [instant.fires_at for instant in found.instants if instant.trigger == "hourly"]
        assert days(1, 2) == daily
        assert (START + timedelta(hours=1), 96) == (hours[0], len(hours))
