"""Overlap under several Dispatchers, and beside ends that are settled at the same moment."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Sequence

from actors.dispatcher import Dispatcher, DispatchSettings
from scheduler.store.pool import connect
from scheduler.transport.memory import MemoryTransport
from tests.support.engine import Engine, engine
from tests.support.overlapping import WATCH, begin, end, slow, states


async def test_two_dispatchers_never_let_too_many_run_and_leave_none_behind(database_url: str) -> None:
    async with engine(database_url) as stage, another_dispatcher(stage):
        await stage.apply(slow=slow("queue_all", max_running=3), once=slow("queue_one"))
        await stage.db.execute(WATCH)
        jobs = ["slow"] * 60 + ["once"] * 20
        random.Random(3).shuffle(jobs)

        await asyncio.gather(*(ask(database_url, jobs[at::4]) for at in range(4)))

        done = "SELECT count(*) FROM runs WHERE job_name = 'slow' AND finished_at IS NOT NULL AND sweep_at IS NULL"
        await stage.until(done, holds=lambda found: found == 60)
        await stage.until("SELECT count(*) = 0 FROM firings WHERE verdict IS NULL")
        await stage.until("SELECT count(*) = 0 FROM runs WHERE finished_at IS NULL")
        most = await stage.db.fetch("SELECT job, max(active) FROM watched GROUP BY job")
        assert {"slow": 3, "once": 1} == dict(most)


async def test_end_beside_a_firing_is_seen_by_one_of_the_two(database_url: str) -> None:
    """The run in the way ends while a firing is decided and holds the job: its step comes after, and finds the line."""
    async with engine(database_url) as stage:
        await begin(stage, "queue_all")
        async with stage.stores.main.transaction() as db:
            await db.execute("SELECT FROM jobs WHERE name = 'slow' FOR NO KEY UPDATE")
            firing = await stage.fire("slow")
            await end(stage, 0)
            await stage.until("SELECT count(*) FROM runs WHERE state = 'succeeded'")
            assert await stage.db.fetchval("SELECT verdict FROM firings WHERE id = $1", firing) is None

        await states(stage, "succeeded", "running")


async def ask(dsn: str, jobs: Sequence[str]) -> None:
    """Write firings one by one, each its own transaction, and ring for each."""
    db = await connect(dsn, name="test")
    try:
        for job in jobs:
            await db.execute(
                """INSERT INTO firings (id, tenant, kind, job_id, job_version, fires_at, wall_time, zone, sweep_at)
                   SELECT gen_random_uuid(), tenant, 'manual', id, version, now(), 'x', 'UTC', now()
                   FROM jobs WHERE name = $1""",
                job,
            )
            await db.execute("SELECT pg_notify('scheduler_work', '')")
    finally:
        await db.close()


@contextlib.asynccontextmanager
async def another_dispatcher(stage: Engine) -> AsyncIterator[None]:
    rng = random.Random(11)
    transport = MemoryTransport(stage.broker, stage.clock, rng)
    await transport.start()
    dispatcher = Dispatcher(stage.stores, transport, stage.clock, rng, DispatchSettings(0.2, 30.0, 30.0))
    await dispatcher.start()
    try:
        yield
    finally:
        await dispatcher.stop()
        await transport.close()
