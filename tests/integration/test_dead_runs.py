"""Dead runs in bulk: found by filters, retried or discarded once."""

from scheduler.store.control import retry_run
from scheduler.store.dead_runs import AT_ONCE, DeadFilter, discard_dead, list_dead, retry_dead
from schemas.vocabulary import Outcome
from tests.support.engine import Engine, engine

TRUE = {"command": ["true"]}
COPY = """
INSERT INTO runs (id, tenant, job_id, job_version, job_name, flow_id, fired_at, state, pool, priority, finished_at)
SELECT gen_random_uuid(), tenant, job_id, job_version, job_name, flow_id, fired_at, state, pool, priority, finished_at
FROM runs, generate_series(1, $1)
"""


async def dead(stage: Engine, **which: object) -> list[str]:
    return [row["job"] for row in await list_dead(stage.stores.main, "default", DeadFilter(**which))]


async def failing(stage: Engine) -> None:
    """Have one dead run of a and one of b, which timed out."""
    stage.executor.script |= {"a": [Outcome.FAILED], "b": [Outcome.TIMED_OUT]}
    await stage.apply(a={"run": TRUE, "params": {"x": 1}}, b={"run": TRUE}, c={"run": TRUE})
    for job in ("a", "b", "c"):
        await stage.fire(job)
    await stage.settled(3)


async def test_filters_find_what_they_say(database_url: str) -> None:
    async with engine(database_url) as stage:
        await failing(stage)

        assert sorted(await dead(stage)) == ["a", "b"]
        assert await dead(stage, job="a") == ["a"]
        assert await dead(stage, job="nobody") == []
        assert await dead(stage, outcome="timed_out") == ["b"]
        assert await dead(stage, reason="TIMED out") == ["b"]
        assert await dead(stage, reason="%") == []
        assert await dead(stage, since=stage.clock.now()) == []


async def test_each_is_retried_once_with_its_params_under_those_given(database_url: str) -> None:
    async with engine(database_url) as stage:
        await failing(stage)
        store, clock = stage.stores.main, stage.clock
        runs = [row["id"] for row in await list_dead(store, "default", DeadFilter())]
        stage.executor.script.clear()
        await stage.dispatcher.stop()
        await stage.db.execute("UPDATE runs SET params = '{\"x\": 2, \"y\": 2}' WHERE job_name = 'a'")

        assert await retry_dead(store, "default", runs, params={"y": 3}, clock=clock) == 2
        assert await retry_dead(store, "default", runs, params=None, clock=clock) == 0
        asked = await stage.db.fetch("SELECT retry_of, params FROM firings WHERE kind = 'retry' ORDER BY retry_of")

        assert [row["retry_of"] for row in asked] == sorted(runs)
        assert {"x": 2, "y": 3} in [row["params"] for row in asked]


async def test_new_runs_take_the_place_of_the_dead_ones(database_url: str) -> None:
    async with engine(database_url) as stage:
        await failing(stage)
        store, clock = stage.stores.main, stage.clock
        runs = [row["id"] for row in await list_dead(store, "default", DeadFilter())]
        stage.executor.script.clear()

        await retry_dead(store, "default", runs[:1], params=None, clock=clock)
        await retry_run(store, "default", runs[1], params={"z": 1}, clock=clock)
        await stage.until("SELECT count(*) = 5 FROM runs WHERE finished_at IS NOT NULL")

        assert await dead(stage) == []
        assert (
            await stage.db.fetchval("SELECT count(*) FROM runs WHERE retried_by IS NOT NULL AND state = 'failed'") == 2
        )


async def test_many_are_retried_in_several_transactions_and_discarded_in_one(database_url: str) -> None:
    async with engine(database_url) as stage:
        await failing(stage)
        store = stage.stores.main
        await stage.dispatcher.stop()
        await stage.db.execute(COPY, AT_ONCE)
        runs = [row["id"] for row in await list_dead(store, "default", DeadFilter())]
        assert len(runs) > 2 * AT_ONCE

        assert await retry_dead(store, "default", runs, params=None, clock=stage.clock) == len(runs)
        assert await stage.db.fetchval("SELECT count(*) FROM firings WHERE kind = 'retry'") == len(runs)
        assert await discard_dead(store, "default", runs) == len(runs)
        assert await discard_dead(store, "default", runs) == 0
        assert await dead(stage) == []
