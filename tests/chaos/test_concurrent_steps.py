"""Two Dispatchers do the DAG steps of two parents of one child at the same moment."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import asyncpg
import pytest

from scheduler.store.advancing import Step, advance
from scheduler.store.stores import Store, Stores

_RUN = """INSERT INTO scheduler.runs (id, tenant, job_id, job_version, job_name, flow_id, fired_at, state, pool,
                                      priority, needs_open, has_downstream, finished_at, sweep_at)
          VALUES ($1, 't', $2, 1, $3, $4, now(), $5, 'default', 2, $6, $7, CASE WHEN $7 THEN now() END,
                  CASE WHEN $7 THEN now() END)"""
_EDGE = """INSERT INTO scheduler.run_edges (run_id, upstream_job_id, tenant, upstream_run_id, condition)
           VALUES ($1, $2, 't', $3, 'succeeded')"""


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    stores = await Stores.open(database_url, name="test", size=4)
    yield stores.main
    await stores.close()


async def child_of_two(store: Store, *ends: str) -> tuple[UUID, list[UUID]]:
    """Write a waiting run and two ended parents whose steps are owed; return their ids."""
    child, flow, parents = uuid4(), uuid4(), [uuid4(), uuid4()]
    async with store.transaction() as db:
        await db.execute(_RUN, child, uuid4(), "child", flow, "waiting", 2, False)
        for parent, end in zip(parents, ends, strict=True):
            await db.execute(_RUN, parent, uuid4(), f"parent-{parent}", flow, end, 0, True)
            await db.execute(_EDGE, child, uuid4(), parent)
    return child, parents


async def step(store: Store, parent: UUID) -> Step:
    async with store.transaction() as db:
        return await advance(db, [parent])


async def waits_for_a_lock(store: Store) -> None:
    async with store.connection() as db, asyncio.timeout(10):
        while not await db.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0.01)


async def state(store: Store, run_id: UUID) -> asyncpg.Record | None:
    async with store.connection() as db:
        return await db.fetchrow("SELECT state, needs_open, needs_met FROM scheduler.runs WHERE id = $1", run_id)


@pytest.mark.parametrize(("end", "child_is"), [("succeeded", ("ready", 0, 2)), ("failed", ("skipped", 0, 1))])
async def test_the_second_step_waits_for_the_first_and_sees_what_it_did(
    store: Store, end: str, child_is: tuple[str, int, int]
) -> None:
    child, (one, other) = await child_of_two(store, "succeeded", end)

    async with store.transaction() as db:
        first = await advance(db, [one])
        second = asyncio.create_task(step(store, other))
        await waits_for_a_lock(store)
    after = await second

    assert (set(), []) == (first.pools, first.skipped)
    assert (({"default"}, []) if end == "succeeded" else (set(), [child])) == (after.pools, after.skipped)
    assert child_is == tuple(await state(store, child) or ())


async def test_one_step_by_two_dispatchers_counts_once(store: Store) -> None:
    child, (one, other) = await child_of_two(store, "succeeded", "succeeded")

    await asyncio.gather(*(step(store, one) for _ in range(3)))
    halfway = await state(store, child)
    steps = await asyncio.gather(*(step(store, other) for _ in range(3)))

    assert ("waiting", 1, 1) == tuple(halfway or ())
    assert ("ready", 0, 2) == tuple(await state(store, child) or ())
    assert [{"default"}] == [done.pools for done in steps if done.pools]
