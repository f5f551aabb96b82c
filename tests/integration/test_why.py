"""What holds a run back, asked on a real database."""

from typing import Any
from uuid import UUID

import pytest

from scheduler.domain.why import Gate, held_by
from scheduler.errors import NotFoundError
from scheduler.store.why import Why, ask_gates
from schemas.vocabulary import Outcome, RunState
from tests.support.engine import Engine, engine

TRUE = {"command": ["true"]}
STATE = "SELECT state FROM runs WHERE id = $1"


async def fire(stage: Engine, job: str, state: str) -> UUID:
    """Fire and return the run once it is in ``state``."""
    firing = await stage.fire(job)
    run: UUID = await stage.until("SELECT run_id FROM firings WHERE id = $1", firing)
    await stage.until(STATE, run, holds=lambda found: found == state)
    return run


async def ask(stage: Engine, run: UUID) -> Why:
    return await ask_gates(stage.stores.main, "default", run, lease_s=30.0)


def first(why: Why) -> tuple[Gate, Any]:
    found = held_by(why.gates)
    assert found is not None
    return found.gate, list(found.runs)


async def test_key_names_the_runs_that_hold_it(database_url: str) -> None:
    async with engine(database_url) as stage:
        stage.executor.script["copy"] = [None]
        await stage.apply(copy={"run": TRUE, "overlap": "allow", "concurrency": {"key": "k"}})
        running = await fire(stage, "copy", "running")

        why = await ask(stage, await fire(stage, "copy", "ready"))

        assert first(why) == (Gate.CONCURRENCY, [running])
        assert [found.gate for found in why.gates] == [Gate.CONCURRENCY, Gate.EXECUTOR, Gate.QUEUE]
        assert (await ask(stage, running)) == Why(running, "copy", RunState.RUNNING, [])


async def test_turn_and_needs_name_what_is_before(database_url: str) -> None:
    async with engine(database_url) as stage:
        stage.executor.script["slow"] = [None]
        await stage.apply(slow={"run": TRUE, "overlap": "queue_all"}, after={"run": TRUE, "needs": ["slow"]})
        running = await fire(stage, "slow", "running")
        after = await stage.db.fetchval("SELECT id FROM runs WHERE job_name = 'after'")
        waiting = await fire(stage, "slow", "waiting")

        assert first(await ask(stage, waiting)) == (Gate.TURN, [running])
        told = await ask(stage, after)
        assert first(told) == (Gate.NEEDS, [running])
        assert told.gates[0].reason == f"it needs slow to have succeeded (run {running} is running)"


async def test_rate_says_when(database_url: str) -> None:
    async with engine(database_url) as stage:
        await stage.apply(mail={"run": TRUE, "overlap": "allow", "rate": "1/h"})
        await fire(stage, "mail", "succeeded")

        assert first(await ask(stage, await fire(stage, "mail", "ready"))) == (Gate.RATE, [])


async def test_executor_and_pool_that_are_not_there(database_url: str) -> None:
    async with engine(database_url) as stage:
        await stage.db.execute("INSERT INTO pools (name) VALUES ('empty')")
        closed = {"run": TRUE, "isolation": "sandbox"}
        await stage.apply(odd={"run": {"handler": "nobody"}}, lost={"run": TRUE, "pool": "empty"}, closed=closed)

        assert first(await ask(stage, await fire(stage, "odd", "ready")))[0] is Gate.EXECUTOR
        assert first(await ask(stage, await fire(stage, "closed", "ready")))[0] is Gate.EXECUTOR
        gates = (await ask(stage, await fire(stage, "lost", "ready"))).gates
        assert [(found.gate, found.holds) for found in gates] == [(Gate.EXECUTOR, True), (Gate.QUEUE, True)]


async def test_wait_between_attempts_is_a_delay(database_url: str) -> None:
    async with engine(database_url, alive=True) as stage:
        stage.executor.script["bad"] = [Outcome.FAILED]
        await stage.apply(bad={"run": TRUE, "retry": {"attempts": 2, "initial": "1h"}})

        assert first(await ask(stage, await fire(stage, "bad", "backing_off"))) == (Gate.DELAY, [])


async def test_unknown_run_is_not_found(database_url: str) -> None:
    async with engine(database_url) as stage:
        with pytest.raises(NotFoundError):
            await ask(stage, UUID(int=1))
