"""``pause_after``: jobs that are paused by the failures of their runs, in the transaction of the last one."""

import asyncpg

from scheduler.store.control import pause_job, resume_job
from schemas.vocabulary import Outcome
from tests.support.engine import Engine, engine

TRUE = {"command": ["true"]}
OVER = "SELECT count(*) = $1 FROM runs WHERE finished_at IS NOT NULL"


async def fail(stage: Engine, times: int, *, total: int) -> None:
    """Have the job run and fail so many times, one run after the other."""
    for run in range(times):
        stage.executor.script["job"] = [Outcome.FAILED]
        await stage.fire("job")
        await stage.until(OVER, total - times + run + 1)


async def job(stage: Engine) -> asyncpg.Record:
    row = await stage.db.fetchrow("SELECT id, paused_at, pause_note FROM jobs WHERE name = 'job'")
    assert row is not None
    return row


async def test_so_many_failed_runs_in_a_row_pause_the_job_and_its_triggers(database_url: str) -> None:
    async with engine(database_url) as stage:
        yearly = [{"cron": "0 0 1 1 *"}]
        await stage.apply(job={"run": TRUE, "pause_after": 2, "triggers": yearly}, other={"run": TRUE})
        revision = await stage.db.fetchval("SELECT revision FROM tenants")

        await fail(stage, 1, total=1)
        assert (await job(stage))["paused_at"] is None
        await fail(stage, 1, total=2)

        paused = await job(stage)
        assert paused["pause_note"] == "2 failed runs in a row"
        assert paused["paused_at"] == await stage.db.fetchval("SELECT max(finished_at) FROM runs")
        assert not await stage.db.fetchval("SELECT active FROM triggers WHERE job_id = $1", paused["id"])
        assert await stage.db.fetchval("SELECT revision FROM tenants") == revision + 1


async def test_a_success_in_between_counts_anew(database_url: str) -> None:
    async with engine(database_url) as stage:
        await stage.apply(job={"run": TRUE, "pause_after": 2})

        await fail(stage, 1, total=1)
        stage.executor.script["job"] = [Outcome.SUCCEEDED]
        await stage.fire("job")
        await stage.until(OVER, 2)
        await fail(stage, 1, total=3)

        assert (await job(stage))["paused_at"] is None


async def test_attempts_that_are_tried_again_and_cancelled_runs_do_not_count(database_url: str) -> None:
    async with engine(database_url) as stage:
        retry = {"attempts": 2, "initial": "50ms", "jitter": 0.0}
        await stage.apply(job={"run": TRUE, "pause_after": 2, "retry": retry})

        stage.executor.script["job"] = [Outcome.FAILED, Outcome.FAILED]
        await stage.fire("job")
        await stage.until(OVER, 1)
        stage.executor.script["job"] = [Outcome.CANCELLED]
        await stage.fire("job")
        await stage.until(OVER, 2)

        assert (await job(stage))["paused_at"] is None


async def test_resuming_counts_from_there(database_url: str) -> None:
    async with engine(database_url) as stage:
        await stage.apply(job={"run": TRUE, "pause_after": 2})
        await fail(stage, 2, total=2)

        assert await resume_job(stage.stores.main, "default", "job", clock=stage.clock)
        await fail(stage, 1, total=3)
        assert (await job(stage))["paused_at"] is None
        await fail(stage, 1, total=4)
        assert (await job(stage))["pause_note"] == "2 failed runs in a row"


async def test_a_pause_by_hand_keeps_its_note(database_url: str) -> None:
    async with engine(database_url) as stage:
        await stage.apply(job={"run": TRUE, "pause_after": 1})
        await pause_job(stage.stores.main, "default", "job", note="holidays", clock=stage.clock)

        await fail(stage, 1, total=1)

        assert (await job(stage))["pause_note"] == "holidays"


async def test_a_lost_attempt_that_is_final_counts(database_url: str) -> None:
    async with engine(database_url, lease_s=1.0) as stage:
        stage.executor.script["job"] = [None]
        await stage.apply(job={"run": TRUE, "pause_after": 1, "on_lost": "fail"})

        await stage.fire("job")

        await stage.until("SELECT paused_at IS NOT NULL FROM jobs")


async def test_what_was_written_down_ahead_is_taken_back(database_url: str) -> None:
    async with engine(database_url) as stage:
        yearly = [{"cron": "0 0 1 1 *"}]
        await stage.apply(job={"run": TRUE, "pause_after": 1, "triggers": yearly})
        await stage.db.execute(
            """INSERT INTO firings
                   (id, tenant, kind, trigger_id, job_id, job_version, fires_at, wall_time, zone, sweep_at)
               SELECT gen_random_uuid(), tenant, 'time', id, job_id, job_version, now() + interval '20 seconds', 'x',
                      'UTC', now() + interval '20 seconds' FROM triggers"""
        )

        await fail(stage, 1, total=1)

        assert (await job(stage))["paused_at"] is not None
        assert await stage.db.fetchval("SELECT count(*) FROM firings WHERE verdict IS NULL") == 0
