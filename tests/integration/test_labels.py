"""Labels and pools: no offer goes where an executor lacks what its job demands, and the reason is said."""

from datetime import timedelta
from pathlib import Path

from scheduler.clock import VirtualClock
from scheduler.store.pools import list_pool_specs, set_pool
from scheduler.store.why import ask_gates
from schemas.vocabulary import ReturnReason
from tests.support.engine import Engine, engine
from tests.support.executing import Stage, noon, offer, until

JOB = {"run": {"handler": "noop"}, "labels": {"gpu": "a100"}, "overlap": "allow"}


async def beat(stage: Engine, executor: str = "played", **labels: str) -> None:
    """Say that an executor with these labels lives."""
    said = stage.executor.heartbeat().model_copy(update={"labels": labels, "handlers": ("noop",), "executor": executor})
    if executor != "played":
        said = said.model_copy(update={"boot_id": type(said.boot_id)(int=sum(executor.encode()))})
    await stage.executor.say("executor.heartbeat", said)
    await stage.until("SELECT labels FROM executors WHERE name = $1", executor, holds=lambda found: found is not None)


async def why(stage: Engine) -> str:
    run = await stage.until("SELECT id FROM runs WHERE job_name = 'job'")
    found = await ask_gates(stage.stores.main, "default", run, lease_s=30.0)
    return next(gate.reason for gate in found.gates if gate.gate == "executor")


async def test_a_job_waits_for_an_executor_with_its_labels_and_says_so(database_url: str) -> None:
    async with engine(database_url) as stage:
        await beat(stage)
        await stage.apply(job=JOB, plain={"run": {"handler": "noop"}})
        await stage.fire("job")
        await stage.fire("plain")

        assert {"plain": ["succeeded"]} == {k: v for k, v in (await stage.settled(1)).items() if k == "plain"}
        assert "no live executor of pool default has label gpu=a100" == await why(stage)
        assert [{}] == [start.order.labels for start in stage.executor.offers]
        await beat(stage, gpu="a100")

        assert {"job": ["succeeded"], "plain": ["succeeded"]} == await stage.settled(2)


async def test_nothing_is_offered_while_one_executor_of_the_pool_lacks_the_label(database_url: str) -> None:
    """An offer lands on any of them."""
    async with engine(database_url) as stage:
        await beat(stage, gpu="a100")
        await beat(stage, "other")
        await stage.apply(job=JOB)
        await stage.fire("job")

        assert "not every live executor of pool default has label gpu=a100" == await why(stage)
        assert [] == stage.executor.offers


async def test_an_executor_without_what_its_pool_demands_is_held_and_the_others_get_the_runs(database_url: str) -> None:
    async with engine(database_url) as stage:
        await beat(stage, gpu="a100")
        await beat(stage, "other")
        await stage.apply(job=JOB)

        assert await set_pool(stage.stores.main, "default", labels={"gpu": "a100"}, handlers=["noop"])
        await beat(stage, "other")
        await beat(stage, gpu="a100")
        held = "SELECT held FROM executors WHERE name = $1"
        said = await stage.until(held, "other")
        assert "pool default demands label gpu=a100, which it has not" == said
        assert await stage.db.fetchval(held, "played") is None
        await stage.fire("job")

        assert {"job": ["succeeded"]} == await stage.settled(1)
        assert (await list_pool_specs(stage.stores.main))["default"].labels == {"gpu": "a100"}


async def test_who_lives_in_a_pool_is_asked_when_its_demands_change(database_url: str) -> None:
    async with engine(database_url) as stage:
        await beat(stage)
        await set_pool(stage.stores.main, "default", labels={"gpu": "a100"})

        await stage.heard(lambda: any(answer.asks for answer in stage.executor.answers))

        assert 1000 == (await list_pool_specs(stage.stores.main))["default"].queue_limit
        assert not await set_pool(stage.stores.main, "default", labels={"gpu": "a100"})


async def test_an_offer_that_came_all_the_same_is_handed_back(tmp_path: Path) -> None:
    async with Stage(tmp_path, clock=VirtualClock(noon())) as stage:
        await stage.executor.start()
        start = offer()
        order = start.order.model_copy(update={"labels": {"gpu": "a100"}})
        await stage.publish(start.model_copy(update={"order": order}))
        await until(lambda: stage.recorder.returned)

        assert [(ReturnReason.NO_LABEL, start.run_id)] == [(b.reason, b.run_id) for b in stage.recorder.returned]
        await stage.clock.advance(timedelta(seconds=1))
        await until(lambda: stage.in_queue() == 0)
        assert [] == stage.recorder.claims
