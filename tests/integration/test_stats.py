"""Statistics of pools and jobs, counted on a real database."""

from datetime import timedelta

from scheduler.store.stats import count_pools, measure_jobs
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

        bad, good = await measure_jobs(stage.stores.main, "default", since=since)

        assert (bad["job"], bad["failed"], bad["success_rate"]) == ("bad", 1, 0.0)
        assert (good["job"], good["runs"], good["succeeded"], good["success_rate"]) == ("good", 2, 2, 1.0)
        assert (good["mean_s"], good["p95_s"]) == (0.001, 0.001)
        assert good["p95_wait_s"] >= 0
        assert [row["job"] for row in await measure_jobs(stage.stores.main, "default", since=since, job="bad")] == [
            "bad"
        ]
        assert await measure_jobs(stage.stores.main, "default", since=stage.clock.now() + timedelta(hours=1)) == []


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
