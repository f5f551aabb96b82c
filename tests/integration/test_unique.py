"""``unique``: one run for a key in a time, on a real database."""

import asyncio
from typing import Any
from uuid import UUID

from scheduler.store.reading import Row, list_verdicts
from scheduler.store.waiting import is_over, wait_for_ends
from schemas.vocabulary import Outcome
from tests.support.engine import Engine, engine


def once(**fields: Any) -> dict[str, Any]:
    unique = {"key": "{{ params.order }}", "within": "1h", **fields}
    return {"run": {"command": ["true"]}, "overlap": "allow", "unique": unique}


async def verdict(stage: Engine, firing: UUID) -> tuple[str, UUID | None, UUID | None]:
    await stage.until("SELECT verdict FROM firings WHERE id = $1", firing)
    row = await stage.db.fetchrow("SELECT verdict, run_id, blocking_run_id FROM firings WHERE id = $1", firing)
    assert row is not None
    return row["verdict"], row["run_id"], row["blocking_run_id"]


async def test_second_firing_of_a_key_starts_nothing(database_url: str) -> None:
    async with engine(database_url) as stage:
        await stage.apply(bill=once())
        firings = [await stage.fire("bill", params={"order": order}) for order in (1, 2, 1, 1)]

        found = [await verdict(stage, firing) for firing in firings]

        assert [word for word, _, _ in found].count("started") == 2
        first = next(run for word, run, _ in (found[0], found[2], found[3]) if word == "started")
        assert [blocking for word, run, blocking in found if word == "duplicate" and run is None] == [first, first]
        assert await stage.settled(2) == {"bill": ["succeeded"] * 2}


async def test_joined_firing_has_the_run_of_the_first(database_url: str) -> None:
    async with engine(database_url) as stage:
        await stage.apply(bill=once(on_duplicate="join"))
        started = await verdict(stage, await stage.fire("bill", params={"order": 1}))

        joined = await verdict(stage, await stage.fire("bill", params={"order": 1}))

        assert (started[0], joined) == ("started", ("joined", started[1], started[1]))


async def test_who_waits_for_a_joined_firing_waits_for_the_run_that_it_joined(database_url: str) -> None:
    async with engine(database_url) as stage:
        stage.executor.script["bill"] = [None]
        await stage.apply(bill=once(on_duplicate="join"))
        await verdict(stage, await stage.fire("bill", params={"order": 1}))
        firing = await stage.fire("bill", params={"order": 1})
        await verdict(stage, firing)
        grant = await stage.grant(0)
        store = stage.stores.main
        seen: dict[UUID, Row] = {}

        assert not is_over((await list_verdicts(store, [firing]))[firing])
        await stage.executor.finish(*grant, Outcome.SUCCEEDED)
        async with asyncio.timeout(10):
            await wait_for_ends(store, [firing], seen, stage.clock)
        assert (seen[firing]["verdict"], seen[firing]["state"]) == ("joined", "succeeded")


async def test_key_is_free_again_after_its_time(database_url: str) -> None:
    async with engine(database_url) as stage:
        await stage.apply(bill=once())
        await verdict(stage, await stage.fire("bill", params={"order": 1}))
        await stage.db.execute("UPDATE runs SET created_at = created_at - interval '1 hour'")

        assert (await verdict(stage, await stage.fire("bill", params={"order": 1})))[0] == "started"


async def test_key_that_cannot_be_filled_fails_the_run(database_url: str) -> None:
    async with engine(database_url) as stage:
        await stage.apply(bill=once())
        assert (await verdict(stage, await stage.fire("bill")))[0] == "started"

        assert await stage.settled(1) == {"bill": ["failed"]}
        assert "unique.key cannot be filled" in await stage.db.fetchval("SELECT reason FROM runs")
