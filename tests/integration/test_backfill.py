"""Backfills: which instants, by which definition, how many at once; durable, once each, beside the ledger."""

from typing import Any

import pytest

from scheduler.errors import ConflictError, NotFoundError
from scheduler.store.backfill import (
    cancel_backfill,
    get_backfill,
    list_backfills,
    list_instants,
)
from scheduler.store.definitions import delete_job
from scheduler.store.ledger import FiringFilter, list_firings
from schemas.vocabulary import Outcome
from tests.support.backfilling import DAILY, DAY, START, ask, days, ledger, over
from tests.support.engine import engine


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
        ("report", {"until": START - DAY}, ConflictError, "to: .* is earlier than from"),
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
