"""What no executor could ever run is said before it waits; what found no room often is offered as patient."""

from scheduler.store.executors import find_impossible
from schemas.job_spec import JobSpec
from schemas.vocabulary import ReturnReason
from tests.support.engine import Engine, engine

COMMAND = {"run": {"command": ["true"]}}
JOBS = {
    "fits": {**COMMAND, "resources": {"cpu": 2.0, "memory": "1GiB"}},
    "cores": {**COMMAND, "resources": {"cpu": 512.0}},
    "memory": {**COMMAND, "resources": {"memory": "900GiB"}},
    "disk": {**COMMAND, "resources": {"disk": "900GiB"}},
    "label": {**COMMAND, "labels": {"gpu": "a100"}},
    "handler": {"run": {"handler": "nowhere"}},
    "elsewhere": {**COMMAND, "pool": "other", "labels": {"gpu": "a100"}},
}
SAID = {
    "cores": "no live executor of pool default has 512 cores",
    "memory": "no live executor of pool default has memory of 900GiB",
    "disk": "no live executor of pool default has disk space of 900GiB",
    "label": "no live executor of pool default has label gpu=a100",
    "handler": "no live executor of pool default has handler nowhere",
}


async def beat(stage: Engine) -> None:
    said = stage.executor.heartbeat().model_copy(
        update={"cpu": 4.0, "memory_bytes": 8 * 1024**3, "disk_bytes": 100 * 1024**3}
    )
    await stage.executor.say("executor.heartbeat", said)
    await stage.until("SELECT cpu FROM executors")


async def test_each_impossible_demand_is_named_and_a_pool_without_executors_is_not(database_url: str) -> None:
    specs = {name: JobSpec.model_validate(fields) for name, fields in JOBS.items()}
    async with engine(database_url, alive=False) as stage:
        assert {} == await find_impossible(stage.stores.main, specs, lease_s=30.0)
        await beat(stage)

        assert SAID == await find_impossible(stage.stores.main, specs, lease_s=30.0)


async def test_a_run_that_was_handed_back_for_want_of_room_again_and_again_is_offered_as_patient(
    database_url: str,
) -> None:
    async with engine(database_url, alive=False) as stage:
        await beat(stage)
        await stage.apply(large=JOBS["fits"])
        await stage.fire("large")
        consumer = await stage.executor.transport.consumer("scheduler.executor.default", credit=10, name="by hand")
        seen = []
        while not seen or not seen[-1].patient:
            assert len(seen) < 5
            batch = await consumer.take(10)
            seen += stage.executor.read(batch)
            await consumer.ack(batch)
            await stage.executor.give_back(seen[-1], None, ReturnReason.NO_ROOM)
            await stage.until("SELECT state FROM runs", holds=lambda state: state == "backing_off")
            await stage.db.execute("UPDATE runs SET state = 'ready', sweep_at = NULL WHERE state = 'backing_off'")
            await stage.db.execute("SELECT pg_notify('scheduler_work', '')")
        await consumer.close()

        assert [False, False, False, True] == [start.patient for start in seen]
