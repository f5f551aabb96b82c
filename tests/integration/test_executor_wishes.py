"""The wish to drain an executor, in the rows: who hears of it, what is offered meanwhile, when it is done."""

import asyncio

import pytest

from scheduler.errors import NotFoundError
from scheduler.store.executors import drain_executor, undrain_executor, wait_drained
from scheduler.store.reading import list_executors
from schemas.message import AttemptKey
from schemas.vocabulary import Outcome
from tests.support.engine import EXECUTOR, Engine, engine
from tests.support.transports import eventually

LEASE_S = 30.0
HANDLER = {"run": {"handler": "noop"}, "overlap": "allow"}


async def drained(stage: Engine, boot_ids: object, timeout_s: float = 10.0) -> int | None:
    return await wait_drained(
        stage.stores.main, boot_ids, lease_s=LEASE_S, timeout_s=timeout_s, clock=stage.clock
    )  # fmt: skip


async def hold_said(stage: Engine) -> str | None:
    """Beat, and return what the answer to that very heartbeat holds the executor back with.

    A Dispatcher asks for heartbeats meanwhile, and what it says may come before the answer or after it.
    """
    beat = stage.executor.heartbeat()
    await stage.executor.say("executor.heartbeat", beat)
    await stage.heard(lambda: any(answer.seq == beat.seq for answer in stage.executor.answers))
    (answer,) = [answer for answer in stage.executor.answers if answer.seq == beat.seq]
    return answer.hold


async def test_a_wish_is_asked_for_and_answered_with_the_next_heartbeat(database_url: str) -> None:
    async with engine(database_url) as stage:
        await stage.until("SELECT count(*) FROM executors")
        await drain_executor(stage.stores.main, EXECUTOR, lease_s=LEASE_S)
        await stage.heard(lambda: any(answer.asks for answer in stage.executor.answers))
        assert "somebody drains it" == await hold_said(stage)
        (row,) = await list_executors(stage.stores.main, lease_s=LEASE_S)
        assert ("somebody drains it", True) == (row["held"], row["alive"])

        await undrain_executor(stage.stores.main, EXECUTOR, lease_s=LEASE_S)

        assert await hold_said(stage) is None


async def test_nothing_is_offered_to_a_pool_all_of_whose_executors_are_drained(database_url: str) -> None:
    async with engine(database_url) as stage:
        await stage.until("SELECT count(*) FROM executors")
        stage.executor.handlers = ("noop",)
        await stage.executor.beat()
        await stage.until("SELECT handlers = '{noop}' FROM executors")
        await stage.apply(job=HANDLER)
        await drain_executor(stage.stores.main, EXECUTOR, lease_s=LEASE_S)
        await stage.fire("job")

        held = "SELECT missing_executor(r.pool, v.spec, 30) FROM runs AS r JOIN job_versions AS v USING (job_id)"
        reason = await stage.until(held)
        assert "every live executor of pool default is held: somebody drains it" == reason
        assert [] == stage.executor.offers
        await undrain_executor(stage.stores.main, EXECUTOR, lease_s=LEASE_S)
        assert {"job": ["succeeded"]} == await stage.settled(1)


async def test_it_is_drained_when_it_has_said_so_and_no_attempt_is_its_own(database_url: str) -> None:
    async with engine(database_url) as stage:
        stage.executor.handlers = ("noop",)
        await stage.executor.beat()
        stage.executor.script["job"] = [None]
        await stage.apply(job=HANDLER)
        await stage.fire("job")
        start, claim = await stage.grant(0)
        boot_ids = await drain_executor(stage.stores.main, EXECUTOR, lease_s=LEASE_S)

        assert await drained(stage, boot_ids, 0.3) is None
        key = AttemptKey(run_id=start.run_id, attempt=1, lease_token=start.lease_token)
        beat = stage.executor.heartbeat(key).model_copy(update={"draining": True})
        await stage.executor.say("executor.heartbeat", beat)
        await stage.until("SELECT draining FROM executors")
        await eventually(lambda: drained(stage, boot_ids, 0.3), 1)  # None: not even one look within the time
        waiting = asyncio.create_task(drained(stage, boot_ids))
        await stage.executor.finish(start, claim, Outcome.SUCCEEDED)

        assert 0 == await waiting


async def test_one_that_nobody_hears_of_cannot_be_drained(database_url: str) -> None:
    async with engine(database_url) as stage:
        with pytest.raises(NotFoundError, match="no live executor elsewhere"):
            await drain_executor(stage.stores.main, "elsewhere", lease_s=LEASE_S)
