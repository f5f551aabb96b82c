"""Limits that runs share over all executors, on a real database: concurrency keys and rates."""

import contextlib
import random
from collections.abc import Mapping
from typing import Any

import pytest

from actors.dispatcher import Dispatcher, DispatchSettings
from scheduler.transport.memory import MemoryTransport
from schemas.vocabulary import Outcome
from tests.support.engine import Engine, engine

TRUE: Mapping[str, Any] = {"command": ["true"]}
BY_STATE = "SELECT string_agg(state, ' ' ORDER BY state, id) FROM runs WHERE limit_key IS NOT NULL"

WATCH = """
CREATE TABLE watched (held int);
CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = scheduler AS $$ BEGIN
    INSERT INTO watched SELECT count(*) FROM scheduler.runs
    WHERE limit_key = NEW.limit_key AND state IN ('queued', 'running');
    RETURN NULL;
END $$;
CREATE TRIGGER watch AFTER UPDATE OF state ON runs FOR EACH ROW WHEN (NEW.limit_key IS NOT NULL)
    EXECUTE FUNCTION watch();
"""
"""Notes how many runs hold a place of the key, whenever one takes or leaves it."""


def limited(key: str, limit: int, **fields: Any) -> dict[str, Any]:
    return {"run": TRUE, "overlap": "allow", "concurrency": {"key": key, "limit": limit}, **fields}


async def test_jobs_share_a_key_and_hold_up_nobody_else(database_url: str) -> None:
    async with engine(database_url) as stage:
        stage.executor.script.update(load=[None], store=[None])
        await stage.apply(load=limited("db", 2), store=limited("db", 2), other={"run": TRUE})
        for job in ("load", "store", "load", "other"):
            await stage.fire(job)

        await stage.until("SELECT state FROM runs WHERE job_name = 'other'", holds=lambda state: state == "succeeded")
        await stage.until(BY_STATE, holds=lambda states: states == "ready running running")

        await stage.heard(lambda: len(stage.executor.granted) == 3)
        held = next(grant for grant in stage.executor.granted if grant[0].order.job != "other")
        await stage.executor.finish(*held, Outcome.SUCCEEDED)
        await stage.until(BY_STATE, holds=lambda states: states == "running running succeeded")


async def test_keys_are_filled_and_each_has_its_own_limit(database_url: str) -> None:
    async with engine(database_url) as stage:
        stage.executor.script["copy"] = [None]
        await stage.apply(copy=limited("{{ params.host }}", 1))
        for host in ("a", "b", "a"):
            await stage.fire("copy", params={"host": host})

        await stage.until(BY_STATE, holds=lambda states: states == "ready running running")
        waiting = await stage.db.fetchval("SELECT limit_key FROM runs WHERE state = 'ready'")
        assert waiting == "key a"


async def test_lost_and_returned_runs_leak_no_place(database_url: str) -> None:
    async with engine(database_url) as stage:
        stage.executor.script["copy"] = [Outcome.FAILED, Outcome.SUCCEEDED]
        await stage.apply(copy=limited("k", 1, retry={"attempts": 2, "initial": "100ms"}))
        for _ in range(4):
            await stage.fire("copy")

        assert await stage.settled(4) == {"copy": ["succeeded"] * 4}


async def test_key_that_cannot_be_filled_fails_the_run(database_url: str) -> None:
    async with engine(database_url) as stage:
        await stage.apply(copy=limited("{{ params.host }}", 1), after={"run": TRUE, "needs": ["copy"]})
        await stage.fire("copy")

        assert await stage.settled(2) == {"copy": ["failed"], "after": ["skipped"]}


@pytest.mark.parametrize("limit", [1, 3])
async def test_limit_holds_over_dispatchers_and_pools(database_url: str, limit: int) -> None:
    async with contextlib.AsyncExitStack() as stack:
        stage = await stack.enter_async_context(engine(database_url))
        await stage.db.execute(WATCH)
        await stage.apply(copy=limited("k", limit))
        for seed in (1, 2):
            transport = MemoryTransport(stage.broker, stage.clock, random.Random(seed))
            await transport.start()
            stack.push_async_callback(transport.close)
            second = Dispatcher(stage.stores, transport, stage.clock, random.Random(seed), DispatchSettings(0.1))
            await second.start()
            stack.push_async_callback(second.stop)

        await fire_many(stage)
        await stage.settled(60)

        assert await stage.db.fetchval("SELECT max(held) FROM watched") == limit


async def fire_many(stage: Engine) -> None:
    for _ in range(60):
        await stage.fire("copy")


async def test_many_keys_are_all_looked_at_in_turn(database_url: str) -> None:
    async with engine(database_url) as stage:
        await stage.apply(copy=limited("{{ params.n }}", 1))
        for number in range(300):
            await stage.fire("copy", params={"n": number})

        assert await stage.settled(300) == {"copy": ["succeeded"] * 300}


async def test_rate_holds_runs_back_until_their_time(database_url: str) -> None:
    async with engine(database_url) as stage:
        await stage.apply(mail={"run": TRUE, "overlap": "allow", "rate": "1/h"})
        for _ in range(3):
            await stage.fire("mail")

        await stage.until(BY_STATE, holds=lambda states: states == "ready ready succeeded")
        await stage.db.execute("UPDATE rates SET next_at = next_at - interval '1 hour'")
        await stage.until(BY_STATE, holds=lambda states: states == "ready succeeded succeeded")
        left = await stage.db.fetchval("SELECT extract(epoch FROM next_at - now())::float8 FROM rates")
        assert 3500 < left <= 3600


async def test_rate_without_need_to_wait_lets_runs_pass(database_url: str) -> None:
    async with engine(database_url) as stage:
        await stage.apply(mail={"run": TRUE, "overlap": "allow", "rate": "1000/s"})
        for _ in range(30):
            await stage.fire("mail")

        assert await stage.settled(30) == {"mail": ["succeeded"] * 30}
