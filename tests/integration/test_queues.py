"""Pause, resume, drain and clear of a pool's queue, on a real database."""

import asyncio

import pytest

from scheduler.errors import NotFoundError
from scheduler.store.queues import clear_queue, drain_queue, list_queues, pause_queue, resume_queue
from scheduler.store.why import ask_gates
from schemas.vocabulary import Outcome
from tests.support.engine import engine

JOB = {"run": {"command": ["true"]}, "overlap": "allow"}
STATES = "SELECT string_agg(state, ' ' ORDER BY state) FROM runs"


async def test_paused_pool_starts_nothing_until_it_is_resumed(database_url: str) -> None:
    async with engine(database_url) as stage:
        await stage.apply(copy=JOB)
        store = stage.stores.main
        assert (await pause_queue(store, "default"), await pause_queue(store, "default")) == (True, False)
        firing = await stage.fire("copy")
        run = await stage.until("SELECT run_id FROM firings WHERE id = $1", firing)
        await stage.until(STATES, holds=lambda states: states == "ready")

        gates = (await ask_gates(store, "default", run, lease_s=30.0)).gates
        assert "is paused" in gates[-1].reason
        [row] = await list_queues(store)
        assert (row["ready"], row["paused_at"] is not None) == (1, True)
        assert stage.executor.offers == []

        assert (await resume_queue(store, "default"), await resume_queue(store, "default")) == (True, False)
        assert await stage.settled(1) == {"copy": ["succeeded"]}


async def test_offers_that_nobody_claimed_are_taken_back(database_url: str) -> None:
    async with engine(database_url, alive=False) as stage:
        await stage.executor.beat()
        await stage.until("SELECT count(*) = 1 FROM executors")
        await stage.apply(copy=JOB)
        await stage.fire("copy")
        await stage.until(STATES, holds=lambda states: states == "queued")

        await pause_queue(stage.stores.main, "default")

        assert await stage.db.fetchrow("SELECT state, lease_token FROM runs") == ("ready", None)


async def test_drain_waits_for_what_runs(database_url: str) -> None:
    async with engine(database_url) as stage:
        stage.executor.script["copy"] = [None]
        await stage.apply(copy=JOB)
        await stage.fire("copy")
        grant = await stage.grant(0)
        store = stage.stores.main

        assert await drain_queue(store, "default", timeout_s=0.1, clock=stage.clock) == 1
        draining = asyncio.create_task(drain_queue(store, "default", timeout_s=15.0, clock=stage.clock))
        await stage.executor.finish(*grant, Outcome.SUCCEEDED)

        assert await draining == 0


async def test_clear_cancels_what_waits_and_lets_the_rest_go_on(database_url: str) -> None:
    async with engine(database_url) as stage:
        stage.executor.script["copy"] = [None]
        await stage.apply(copy=JOB | {"concurrency": {"key": "k"}}, after={"run": JOB["run"], "needs": ["copy"]})
        for _ in range(3):
            await stage.fire("copy")
        await stage.until(STATES, holds=lambda states: states == "ready ready running waiting waiting waiting")

        assert await clear_queue(stage.stores.main, "another", "default", reason="not theirs") == 0
        assert await clear_queue(stage.stores.main, "default", "default", reason="enough") == 2

        await stage.until(STATES, holds=lambda states: states == "cancelled cancelled running skipped skipped waiting")


async def test_unknown_pool_is_not_found(database_url: str) -> None:
    async with engine(database_url) as stage:
        for ask in (pause_queue, resume_queue):
            with pytest.raises(NotFoundError):
                await ask(stage.stores.main, "nowhere")
        with pytest.raises(NotFoundError):
            await clear_queue(stage.stores.main, "default", "nowhere", reason="x")
