"""Statistics of pools and jobs, counted on a real database."""

from datetime import timedelta

from scheduler.store.pools import set_pool
from scheduler.store.stats import count_pools, measure_runs
from schemas.vocabulary import Outcome
from tests.support.engine import engine

TRUE = {"command": ["true"]}


async def test_jobs_are_measured_by_how_their_runs_ended(database_url: str) -> None:
    async with engine(database_url) as stage:
        stage.executor.script.update(bad=[Outcome.FAILED])
        await stage.apply(good={"run": TRUE, "overlap": "allow"}, bad={"run": TRUE, "overlap": "allow"})
        for job in ("good", "good", "bad"):
            await stage.fire(job)
        await stage.settled(3)
        since = stage.clock.now() - timedelta(hours=1)

        store = stage.stores.main
        measured = await measure_runs(store, "default", since=since)
        bad, good = measured.jobs

        assert (bad["job"], bad["failed"], bad["success_rate"]) == ("bad", 1, 0.0)
        assert (good["job"], good["runs"], good["succeeded"], good["success_rate"]) == ("good", 2, 2, 1.0)
        assert (good["mean_s"], good["p95_s"]) == (0.001, 0.001)
        assert good["p95_wait_s"] >= 0
        assert [row["job"] for row in (await measure_runs(store, "default", since=since, job="bad")).jobs] == ["bad"]
        later = await measure_runs(store, "default", since=stage.clock.now() + timedelta(hours=1))
        assert (later.jobs, later.pools) == ([], [])


async def test_pools_are_measured_over_all_their_jobs(database_url: str) -> None:
    async with engine(database_url) as stage:
        stage.executor.script.update(bad=[Outcome.FAILED])
        job = {"run": TRUE, "overlap": "allow"}
        await set_pool(stage.stores.main, "gpu", 7)
        await stage.apply(good=job, bad=job, idle={**job, "pool": "gpu"})
        for name in ("good", "good", "bad", "good"):
            await stage.fire(name)
        await stage.settled(4)
        await stage.db.execute("UPDATE attempts SET elapsed_s = 1 + 2 * (outcome = 'failed')::int")
        store, since = stage.stores.main, stage.clock.now() - timedelta(hours=1)

        measured = await measure_runs(store, "default", since=since)
        default, gpu = measured.beside(await count_pools(store, "default", lease_s=30.0))

        assert (default["runs"], default["succeeded"], default["failed"], default["success_rate"]) == (4, 3, 1, 0.75)
        assert (default["mean_s"], default["running"]) == (1.5, 0)
        assert 1 < default["p95_s"] <= 3
        assert (gpu["pool"], gpu["runs"], gpu["success_rate"], gpu["mean_s"]) == ("gpu", 0, None, None)
        [of_bad] = (await measure_runs(store, "default", since=since, job="bad")).pools
        assert (of_bad["runs"], of_bad["mean_s"]) == (1, 3.0)


async def test_pools_show_what_waits_and_runs(database_url: str) -> None:
    async with engine(database_url) as stage:
        stage.executor.script["copy"] = [None]
        await stage.apply(copy={"run": TRUE, "overlap": "allow", "concurrency": {"key": "k"}})
        for _ in range(3):
            await stage.fire("copy")
        await stage.until("SELECT count(*) = 2 FROM runs WHERE state = 'ready'")
        await stage.until("SELECT count(*) = 1 FROM runs WHERE state = 'running'")

        [pool] = await count_pools(stage.stores.main, "default", lease_s=30.0)

        assert (pool["pool"], pool["slots"], pool["ready"], pool["queued"], pool["running"]) == (
            "default",
            100,
            2,
            0,
            1,
        )
        assert pool["oldest_s"] > 0
        [of_another] = await count_pools(stage.stores.main, "another", lease_s=30.0)
        assert (of_another["ready"], of_another["running"], of_another["oldest_s"]) == (0, 0, 0.0)
