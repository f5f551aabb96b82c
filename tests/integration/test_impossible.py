"""What no executor could ever run is said before it waits; what found no room often is offered as patient."""

import asyncio
from uuid import uuid4

from scheduler.store.executors import find_impossible
from scheduler.store.why import ask_gates
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


async def beat(stage: Engine, cpu: float = 4.0, memory: int = 8) -> None:
    said = stage.executor.heartbeat().model_copy(
        update={"cpu": cpu, "memory_bytes": memory * 1024**3, "disk_bytes": 100 * 1024**3}
    )
    await stage.executor.say("executor.heartbeat", said)
    await stage.until("SELECT max(cpu) FROM executors", holds=lambda known: known == cpu)


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


async def test_a_run_too_large_for_every_executor_is_not_offered_until_one_is_large_enough(database_url: str) -> None:
    """Offers of it would come back every other second, and take the places of others in the queue."""
    both = {**COMMAND, "resources": {"cpu": 8.0, "memory": "4GiB"}}
    names = ("both", "cores", "memory", "disk", "fits")
    async with engine(database_url, alive=False) as stage, asyncio.TaskGroup() as group:
        await beat(stage)
        taking = group.create_task(stage.executor.take_offers())
        await stage.apply(**{name: {"both": both, **JOBS}[name] for name in names})
        for name in names:
            await stage.fire(name)
        await stage.settled(1)

        held = await stage.until(
            "SELECT array_agg(job_name) FROM runs WHERE state = 'ready'", holds=lambda all_: len(all_ or ()) == 4
        )
        assert ["fits"] == [start.order.job for start in stage.executor.offers]
        assert sorted(held) == ["both", "cores", "disk", "memory"]
        run_id = await stage.db.fetchval("SELECT id FROM runs WHERE job_name = 'both'")
        found = await ask_gates(stage.stores.main, "default", run_id, lease_s=30.0)
        assert ["no live executor of pool default has 8 cores"] == [gate.reason for gate in found.gates if gate.holds]

        stage.executor.boot_id = uuid4()  # another executor
        await beat(stage, cpu=16.0, memory=2000)
        await stage.settled(3)

        assert {"fits", "both", "memory"} == {start.order.job for start in stage.executor.offers}
        taking.cancel()
