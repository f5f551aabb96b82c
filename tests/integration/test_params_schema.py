"""Params by hand are checked before anything is fired; what templates and results make, before an attempt starts."""

import pytest

from scheduler.errors import InvalidParamsError
from scheduler.store.control import retry_run, trigger_jobs
from schemas.vocabulary import Outcome
from tests.support.engine import engine

SCHEMA = {
    "properties": {"level": {"enum": [1, 2]}, "out": {"type": "string"}},
    "required": ["level"],
    "additionalProperties": False,
}
JOB = {"run": {"handler": "noop"}, "params": {"out": "{{ run.id }}"}, "params_schema": SCHEMA}


async def test_nothing_is_fired_with_params_that_one_of_the_jobs_does_not_allow(database_url: str) -> None:
    async with engine(database_url, alive=False) as stage:
        await stage.apply(strict=JOB, loose={"run": {"handler": "noop"}})
        for params, said in (
            ({"level": 3}, "job strict: params.level: 3 is not one of [1, 2]"),
            (None, "job strict: params: 'level' is a required property"),
            ({"level": 1, "out": 5}, "job strict: params.out: 5 is not of type 'string'"),
        ):
            with pytest.raises(InvalidParamsError) as refused:
                await trigger_jobs(stage.stores.main, "default", ["loose", "strict"], params=params, clock=stage.clock)
            assert [said] == refused.value.problems
        assert 0 == await stage.db.fetchval("SELECT count(*) FROM firings")

        await trigger_jobs(stage.stores.main, "default", ["strict"], params={"level": 1}, clock=stage.clock)

        await stage.until("SELECT count(*) FROM runs")


async def test_a_retry_is_checked_by_the_schema_of_today(database_url: str) -> None:
    async with engine(database_url) as stage:
        stage.executor.handlers = ("noop",)
        await stage.executor.beat()
        stage.executor.script["strict"] = [Outcome.FAILED]
        await stage.apply(strict=JOB)
        await trigger_jobs(stage.stores.main, "default", ["strict"], params={"level": 2}, clock=stage.clock)
        await stage.settled(1)
        run_id = await stage.db.fetchval("SELECT id FROM runs")
        with pytest.raises(InvalidParamsError, match=r"params.level: 7"):
            await retry_run(stage.stores.main, "default", run_id, params={"level": 7}, clock=stage.clock)
        await stage.apply(strict={**JOB, "params_schema": {"properties": {"level": {"const": 1}}}})
        with pytest.raises(InvalidParamsError, match=r"params.level: 1 was expected"):
            await retry_run(stage.stores.main, "default", run_id, clock=stage.clock)

        await retry_run(stage.stores.main, "default", run_id, params={"level": 1}, clock=stage.clock)


async def test_what_a_template_makes_is_checked_before_an_attempt_starts(database_url: str) -> None:
    async with engine(database_url) as stage:
        stage.executor.handlers = ("noop",)
        await stage.executor.beat()
        await stage.apply(strict={**JOB, "params": {"level": "{{ run.attempt + 2 }}"}})
        await stage.fire("strict")

        assert {"strict": ["failed"]} == await stage.settled(1)

        assert [] == stage.executor.offers
        reason = await stage.db.fetchval("SELECT reason FROM runs")
        assert "the work order cannot be made: params.level: 3 is not one of [1, 2]" == reason
