"""Backfills: which instants, by which definition, how many at once; durable, once each, beside the ledger."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from scheduler.errors import ConflictError, NotFoundError
from scheduler.store.backfill import (
    Backfill,
    Wanted,
    cancel_backfill,
    get_backfill,
    list_backfills,
    list_instants,
    start_backfill,
)
from scheduler.store.definitions import delete_job
from scheduler.store.ledger import FiringFilter, list_firings
from schemas.vocabulary import Outcome
from tests.support.engine import Engine, engine

START = datetime(2026, 3, 1, 2, tzinfo=UTC)
DAY = timedelta(days=1)
DAILY: Mapping[str, Any] = {
    "run": {"command": ["echo", "{{ run.fired_at }}"]},
    "triggers": [{"id": "daily", "cron": "0 2 * * *"}],
}


def days(*numbers: int) -> list[datetime]:
    return [START + DAY * number for number in numbers]


async def ask(stage: Engine, job: str = "report", *, dry_run: bool = False, **fields: Any) -> Backfill:
    given = {"since": START, "until": START + 4 * DAY} | fields
    return await start_backfill(stage.stores.main, "default", Wanted(job, **given), dry_run=dry_run, clock=stage.clock)


async def over(stage: Engine, found: Backfill) -> dict[str, Any]:
    await stage.until("SELECT finished_at FROM backfills WHERE id = $1", found.id)
    assert found.id is not None
    return await get_backfill(stage.stores.main, "default", found.id)


async def ledger(
    stage: Engine, verdict: str, at: datetime, to_at: datetime | None = None, *, where: str = "t.key = 'daily'"
) -> UUID:
    """Write a row of the ledger for the daily trigger of ``report``."""
    row: UUID = await stage.db.fetchval(
        f"""INSERT INTO firings (id, tenant, kind, trigger_id, job_id, job_version, fires_at, to_at, count, wall_time,
                                zone, verdict, reason, decided_at, run_id)
           SELECT gen_random_uuid(), 'default', 'time', t.id, t.job_id, 1, $2, $3, $4, $5, 'UTC', $1, 'x', now(),
                  CASE WHEN $1 = 'started' THEN gen_random_uuid() END
           FROM triggers AS t JOIN jobs AS j ON j.id = t.job_id WHERE j.name = 'report' AND {where}
           RETURNING id""",
        verdict, at, to_at, 1 if to_at is None else (to_at - at) // DAY + 1, at.replace(tzinfo=None).isoformat(),
    )  # fmt: skip
    return row


async def test_missing_instants_run_in_order_with_their_own_fired_at(database_url: str) -> None:
    async with engine(database_url) as stage:
        await stage.apply(report=DAILY)

        found = await ask(stage)

        assert days(0, 1, 2, 3, 4) == [instant.fires_at for instant in found.instants]
        assert {(1, False, None)} == {(i.job_version, i.in_force, i.firing_id) for i in found.instants}
        shown = await over(stage, found)
        assert ("finished", {"succeeded": 5}, "background") == (shown["state"], shown["runs"], shown["priority"])
        order = [offer.order.work.argv[1] for offer in stage.executor.offers]  # type: ignore[union-attr]
        assert [at.isoformat() for at in days(0, 1, 2, 3, 4)] == order
        assert [] == (await ask(stage)).instants


async def test_what_started_is_left_out_unless_all_is_asked_for(database_url: str) -> None:
    async with engine(database_url) as stage:
        await stage.apply(report=DAILY)
        await ledger(stage, "started", START)
        skipped = await ledger(stage, "skipped_overlap", START + DAY)
        stretch = await ledger(stage, "misfired", START + 2 * DAY, START + 3 * DAY)
        await ledger(stage, "skipped_calendar", START + 4 * DAY)

        missing = await ask(stage, dry_run=True)
        everything = await ask(stage, dry_run=True, again=True)

        assert [(days(1)[0], skipped), (days(2)[0], stretch), (days(3)[0], stretch)] == [
            (instant.fires_at, instant.firing_id) for instant in missing.instants
        ]
        assert days(0, 1, 2, 3) == [instant.fires_at for instant in everything.instants]
        assert 0 == await stage.db.fetchval("SELECT count(*) FROM backfills")


async def test_ledger_keeps_its_verdict_and_its_row(database_url: str) -> None:
    async with engine(database_url) as stage:
        await stage.apply(report=DAILY)
        stretch = await ledger(stage, "merged", START, START + 4 * DAY)

        await over(stage, await ask(stage))

        (row,) = await list_firings(stage.stores.main, "default", FiringFilter(job="report"))
        assert (stretch, "merged", 5, 5, None) == (
            row["id"], row["verdict"], row["count"], row["backfilled"], row["run_id"],
        )  # fmt: skip
        assert {stretch} == {row["firing_id"] for row in await stage.db.fetch("SELECT firing_id FROM runs")}


async def test_no_more_runs_are_open_than_are_asked_for(database_url: str) -> None:
    async with engine(database_url) as stage:
        stage.executor.script["report"] = [None]
        await stage.apply(report=DAILY)

        found = await ask(stage, max_parallel=2)

        for index in range(5):
            offer, claim_id = await stage.grant(index)
            open_runs = await stage.db.fetchval("SELECT count(*) FROM runs WHERE finished_at IS NULL")
            assert open_runs <= 2
            await stage.executor.finish(offer, claim_id, Outcome.SUCCEEDED)
        assert {"succeeded": 5} == (await over(stage, found))["runs"]


async def test_backfill_and_clock_do_not_stand_in_each_others_way(database_url: str) -> None:
    async with engine(database_url) as stage:
        stage.executor.script["report"] = [None]
        await stage.apply(report=DAILY)
        await ask(stage, max_parallel=2)
        await stage.until("SELECT count(*) = 2 FROM runs WHERE state = 'running'")

        firing = await stage.fire("report")

        assert "started" == await stage.until("SELECT verdict FROM firings WHERE id = $1", firing)
        await stage.until("SELECT count(*) = 3 FROM runs WHERE state = 'running'")


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


async def test_only_what_follows_from_the_job_alone_comes_with_it(database_url: str) -> None:
    async with engine(database_url) as stage:
        await stage.apply(
            other={"run": {"command": ["true"]}}, report=DAILY,
            verify={"run": {"command": ["true"]}, "needs": ["report"]},
            merge={"run": {"command": ["true"]}, "needs": ["verify", "other"]},
            last={"run": {"command": ["true"]}, "needs": ["report", "verify"]},
        )  # fmt: skip

        await over(stage, await ask(stage, until=START))

        assert {"report": ["succeeded"], "verify": ["succeeded"], "last": ["succeeded"]} == await stage.settled(3)


async def test_two_who_ask_at_once_share_the_instants(database_url: str) -> None:
    async with engine(database_url) as stage:
        await stage.apply(report=DAILY)
        stage.executor.script["report"] = [None]

        first = await ask(stage, until=START + 2 * DAY)
        second = await ask(stage)
        again = await ask(stage, again=True)

        assert (days(0, 1, 2), days(3, 4), []) == (
            [i.fires_at for i in first.instants], [i.fires_at for i in second.instants], list(again.instants),
        )  # fmt: skip
        assert again.id is None


async def test_cancelled_backfill_starts_nothing_more_and_its_instants_are_missing_again(database_url: str) -> None:
    async with engine(database_url) as stage:
        stage.executor.script["report"] = [None]
        await stage.apply(report=DAILY)
        found = await ask(stage)
        assert found.id is not None
        offer, claim_id = await stage.grant(0)

        await cancel_backfill(stage.stores.main, "default", found.id, reason="wrong range")
        await stage.executor.finish(offer, claim_id, Outcome.FAILED)

        shown = await over(stage, found)
        assert ("cancelled", "wrong range", {"failed": 1}) == (shown["state"], shown["reason"], shown["runs"])
        assert days(1, 2, 3, 4) == [i.fires_at for i in (await ask(stage, dry_run=True)).instants]
        with pytest.raises(ConflictError, match="is over"):
            await cancel_backfill(stage.stores.main, "default", found.id, reason="again")


@pytest.mark.parametrize("how", ["disabled", "deleted"])
async def test_disabled_job_holds_it_back_and_a_deleted_one_ends_it(database_url: str, how: str) -> None:
    async with engine(database_url) as stage:
        stage.executor.script["report"] = [None]
        await stage.apply(report=DAILY)
        found = await ask(stage)
        offer, claim_id = await stage.grant(0)

        if how == "deleted":
            await delete_job(stage.stores.main, "default", "report", clock=stage.clock)
        else:
            await stage.apply(report={**DAILY, "enabled": False})
        await stage.executor.finish(offer, claim_id, Outcome.SUCCEEDED)

        if how == "deleted":
            assert "the job was deleted" == (await over(stage, found))["reason"]
        else:
            await stage.until("SELECT count(*) FROM runs WHERE state = 'succeeded' AND sweep_at IS NULL")
            await stage.apply(report=DAILY)
            await stage.db.execute("UPDATE backfills SET sweep_at = now()")
            await stage.grant(1)


async def test_release_that_was_lost_is_swept(database_url: str) -> None:
    async with engine(database_url) as stage:
        stage.executor.script["report"] = [None]
        await stage.apply(report=DAILY)
        await ask(stage)
        await stage.grant(0)
        await stage.db.execute(
            """UPDATE runs SET state = 'succeeded', finished_at = now(), lease_token = NULL, sweep_at = NULL
               WHERE state = 'running'"""
        )

        await stage.db.execute("UPDATE backfills SET sweep_at = now()")

        await stage.grant(1)


async def test_instants_the_ledger_has_not_reached_are_left_to_the_clock(database_url: str) -> None:
    async with engine(database_url) as stage:
        await stage.apply(report=DAILY)
        await stage.db.execute("UPDATE triggers SET last_at = $1, next_at = NULL", START + 2 * DAY)

        found = await ask(stage, dry_run=True)

        assert (days(0, 1, 2), START + 2 * DAY) == ([i.fires_at for i in found.instants], found.settled_until)


async def test_instants_are_shown_with_their_runs(database_url: str) -> None:
    async with engine(database_url) as stage:
        await stage.apply(report=DAILY)
        found = await ask(stage, until=START + DAY)
        assert found.id is not None
        await over(stage, found)

        rows = await list_instants(stage.stores.main, "default", found.id, after=0, limit=10)

        assert [(1, START + DAY, "daily", "succeeded")] == [
            (row["position"], row["fires_at"], row["trigger"], row["state"]) for row in rows
        ]
        assert [found.id] == [
            r["id"] for r in await list_backfills(stage.stores.main, "default", "report", after=None, limit=9)
        ]
        with pytest.raises(NotFoundError):
            await get_backfill(stage.stores.main, "other", found.id)


@pytest.mark.parametrize(
    ("job", "fields", "error", "words"),
    [
        ("nobody", {}, NotFoundError, "there is no job nobody"),
        ("still", {}, ConflictError, "has no triggers by time"),
        ("report", {"until": START - DAY}, ConflictError, "ends before it begins"),
        ("often", {"until": START + 9 * DAY}, ConflictError, "more than 100000 instants"),
    ],
)
async def test_wrong_wish_is_refused(
    database_url: str, job: str, fields: dict[str, Any], error: type[Exception], words: str
) -> None:
    async with engine(database_url) as stage:
        often = {"run": {"command": ["true"]}, "triggers": [{"every": "1s", "anchor": START - DAY}]}
        await stage.apply(report=DAILY, still={"run": {"command": ["true"]}}, often=often)

        with pytest.raises(error, match=words):
            await ask(stage, job, **fields)


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
