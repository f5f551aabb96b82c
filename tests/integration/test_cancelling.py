"""Many runs cancelled at once, by what they are and by their flow, on a real database."""

from datetime import timedelta
from uuid import UUID

from scheduler.store.cancelling import AT_ONCE, CancelFilter, CancelledRuns, cancel_runs, list_cancellable
from scheduler.store.pools import set_pool
from schemas.vocabulary import Outcome
from tests.support.engine import Engine, engine

TRUE = {"run": {"command": ["true"]}, "overlap": "allow"}
STATES = "SELECT string_agg(job_name || ' ' || state, ', ' ORDER BY job_name, state) FROM runs"
COPY = """
INSERT INTO runs (id, tenant, job_id, job_version, job_name, flow_id, fired_at, state, pool, priority, ready_at)
SELECT gen_random_uuid(), tenant, job_id, job_version, job_name, flow_id, fired_at, 'ready', 'nowhere', priority, now()
FROM runs, generate_series(1, $1)
"""


async def cancel(stage: Engine, **which: object) -> CancelledRuns:
    store = stage.stores.main
    runs = await list_cancellable(store, "default", CancelFilter(**which))
    return await cancel_runs(store, "default", runs, reason="enough")


async def begun(stage: Engine, *jobs: str) -> list[UUID]:
    """Fire ``jobs`` and return the flows of their runs, once each run has begun."""
    stage.executor.script |= {job: [None] for job in jobs}
    firings = [await stage.fire(job) for job in jobs]
    await stage.heard(lambda: len(stage.executor.granted) == len(jobs))
    return [await stage.db.fetchval("SELECT run_id FROM firings WHERE id = $1", firing) for firing in firings]


async def test_a_flow_is_cancelled_whole_and_no_other(database_url: str) -> None:
    async with engine(database_url) as stage:
        await stage.apply(a=TRUE, b={**TRUE, "needs": ["a"]}, c={**TRUE, "needs": ["b"]})
        first, _ = await begun(stage, "a", "a")

        assert await cancel(stage, flow=first) == CancelledRuns(cancelled=2, asked=1)
        await stage.heard(lambda: len(stage.executor.cancels) == 1)
        stopped = next(one for one in stage.executor.granted if one[0].run_id == first)
        assert stage.executor.cancels[0].run_id == first
        await stage.executor.finish(*stopped, Outcome.CANCELLED)

        await stage.until(
            STATES,
            holds=lambda found: found == "a cancelled, a running, b cancelled, b waiting, c cancelled, c waiting",
        )
        assert await cancel(stage, flow=first) == CancelledRuns()


async def test_runs_are_cancelled_by_what_they_are(database_url: str) -> None:
    async with engine(database_url) as stage:
        await set_pool(stage.stores.main, "gpu", 7)
        await stage.apply(a=TRUE, b={**TRUE, "pool": "gpu"}, c=TRUE)
        await begun(stage, "a", "c")
        for _ in range(2):
            await stage.fire("b")
        await stage.until("SELECT count(*) = 2 FROM runs WHERE state = 'ready'")
        later = stage.clock.now() + timedelta(hours=1)

        for nobody in ({"job": "nobody"}, {"pool": "none"}, {"states": ["queued"]}, {"since": later}):
            assert await cancel(stage, **nobody) == CancelledRuns()
        assert await list_cancellable(stage.stores.main, "another", CancelFilter()) == []
        assert await cancel(stage, pool="gpu", states=["running"]) == CancelledRuns()
        assert await cancel(stage, job="b", pool="gpu", states=["ready"]) == CancelledRuns(cancelled=2)
        assert await cancel(stage, states=["running"], job="a") == CancelledRuns(asked=1)
        await stage.until("SELECT count(*) = 1 FROM runs WHERE state = 'running' AND cancel_at IS NULL")
        assert await stage.db.fetch("SELECT DISTINCT reason, cancel_reason FROM runs WHERE state = 'cancelled'") == [
            ("enough", "enough")
        ]


async def test_many_take_several_transactions_and_none_is_missed_or_counted_twice(database_url: str) -> None:
    async with engine(database_url) as stage:
        await stage.apply(a=TRUE)
        await stage.fire("a")
        await stage.settled(1)
        await stage.db.execute(COPY, 2 * AT_ONCE + 1)
        store = stage.stores.main
        runs = await list_cancellable(store, "default", CancelFilter())
        await stage.db.execute("UPDATE runs SET state = 'skipped', finished_at = now() WHERE id = $1", runs[0])

        assert await cancel_runs(store, "another", runs, reason="not theirs") == CancelledRuns()
        assert await cancel_runs(store, "default", runs, reason="enough") == CancelledRuns(cancelled=2 * AT_ONCE)
        assert await cancel_runs(store, "default", runs, reason="again") == CancelledRuns()
        told = "SELECT sum(cardinality(ids))::int FROM feed WHERE fact = 'run.cancelled'"
        noted = "SELECT count(*) FROM audit WHERE action = 'cancel' AND kind = 'run'"
        assert [await stage.db.fetchval(query) for query in (told, noted)] == [2 * AT_ONCE, 2 * AT_ONCE]
