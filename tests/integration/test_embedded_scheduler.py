"""The scheduler inside a program: a context manager, a private database, a broker in memory."""

import asyncio
import random
from functools import partial
from pathlib import Path

import pytest

from scheduler.clock import SystemClock
from scheduler.config import Settings
from scheduler.definitions.load import load
from scheduler.embedded_scheduler import EmbeddedScheduler
from scheduler.store.control import trigger_jobs
from scheduler.store.pools import set_pool
from scheduler.store.reading import RunFilter, list_runs
from scheduler.store.stores import Store
from scheduler.transport.memory_broker import MemoryBroker
from scheduler.wiring import Code, World
from tests.support.transports import eventually

JOBS = """
version: 1
pools: {small: {queue_limit: 5}}
jobs:
  first: {run: {handler: greet}, params: {who: world}}
  second: {run: {command: [echo, "{{ results['first'].hello }}"]}, needs: [first]}
"""
HANDLERS = """
from scheduler.handlers import handler

@handler("greet")
async def greet(ctx, params):
    return {"hello": params["who"]}
"""
USERS = "SELECT application_name, usename FROM pg_stat_activity WHERE usename <> 'postgres'"
ROLES = {
    **{f"scheduler/{actor}": f"scheduler_{actor}" for actor in ("ticker", "dispatcher", "recorder", "watcher")},
    **{f"scheduler/{actor} bell": f"scheduler_{actor}" for actor in ("ticker", "dispatcher")},
    "scheduler/up": "scheduler",
}


async def users_of(store: Store) -> dict[str, str]:
    """Return as which user each connects."""
    async with store.connection() as db:
        return dict(await db.fetch(USERS))


@pytest.mark.slow
async def test_jobs_run_inside_and_what_they_did_is_there_next_time(tmp_path: Path) -> None:
    (tmp_path / "jobs.yaml").write_text(JOBS)
    (tmp_path / "greeting.py").write_text(HANDLERS)
    settings = Settings(data_dir=tmp_path / "state")
    clock = SystemClock()

    def world() -> World:
        return World(settings, clock, random.Random(1), Code(tmp_path, ("greeting",)), MemoryBroker())

    async with EmbeddedScheduler(world()) as scheduler:
        result = await scheduler.apply(load([tmp_path / "jobs.yaml"]))
        store = scheduler.stores.main
        await trigger_jobs(store, "default", ["first"], params=None, clock=clock)
        await eventually(partial(users_of, store), ROLES)  # actors connect as they begin
        async with asyncio.timeout(20):
            while len(done := await list_runs(store, "default", RunFilter(states=["succeeded"]))) < 2:
                await clock.sleep(0.05)

    async with EmbeddedScheduler(world()) as scheduler:
        again = await list_runs(scheduler.stores.main, "default", RunFilter())

    assert (result.created, result.pools) == (["first", "second"], ["small"])
    assert {run["job"]: run["result"] for run in again}["first"] == {"hello": "world"}
    assert [run["id"] for run in again] == [run["id"] for run in done]


@pytest.mark.slow
async def test_a_pool_made_by_another_process_has_its_queue_at_once(tmp_path: Path) -> None:
    broker, clock = MemoryBroker(), SystemClock()
    world = World(Settings(data_dir=tmp_path / "state"), clock, random.Random(1), Code(tmp_path), broker)

    async with EmbeddedScheduler(world) as scheduler:
        await set_pool(scheduler.stores.main, "gpu", 7)

        async with asyncio.timeout(20):
            while "scheduler.executor.gpu" not in broker.queues:
                await clock.sleep(0.02)
