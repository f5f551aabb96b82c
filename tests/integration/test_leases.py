"""What bounds the end of a lease, and what is believed of executors, whatever order words come in."""

from scheduler.store.leasing import find_expired
from schemas.vocabulary import Outcome
from tests.support.engine import engine

RUN = """
INSERT INTO runs (id, tenant, job_id, job_version, job_name, flow_id, fired_at, state, pool, priority, owner,
                  lease_token, lease_until, sweep_at)
SELECT gen_random_uuid(), 'default', gen_random_uuid(), 1, 'j', gen_random_uuid(), now(), 'running', 'default', 2,
       gen_random_uuid(), gen_random_uuid(), now() - interval '5 seconds', now() - interval '5 seconds' RETURNING id
"""


async def test_a_stopped_executor_is_not_revived_by_an_older_heartbeat(database_url: str) -> None:
    async with engine(database_url) as stage:
        older = stage.executor.heartbeat()
        last = stage.executor.heartbeat().model_copy(update={"stopped": True})
        stopped = "SELECT stopped_at IS NOT NULL FROM executors"

        await stage.recorder.on_heartbeats([last, older])  # one batch, out of order
        together = await stage.db.fetchval(stopped)
        await stage.recorder.on_heartbeats([older])

        assert (True, True) == (together, await stage.db.fetchval(stopped))


async def test_a_recorder_that_stopped_bounds_leases_as_long_as_a_killed_one(database_url: str) -> None:
    """What it was handed and did not read goes to another Recorder, behind barriers that one has read."""
    async with engine(database_url, lease_s=10.0) as stage:
        await stage.until("SELECT count(*) FROM recorders")
        await stage.recorder.stop()
        assert await stage.db.fetchval("SELECT stopped_at IS NOT NULL FROM recorders")
        run = await stage.db.fetchval(RUN)
        await stage.db.execute("UPDATE recorders SET read_through = now() - interval '8 seconds'")
        await stage.db.execute("INSERT INTO recorders VALUES (gen_random_uuid(), now(), now())")

        held = await find_expired(stage.stores.main, 10, 20.0)
        await stage.db.execute(
            "UPDATE recorders SET seen_at = now() - interval '1 minute' WHERE stopped_at IS NOT NULL"
        )

        assert ([], [run]) == (held, await find_expired(stage.stores.main, 10, 20.0))


async def test_a_recorder_that_gave_heartbeats_back_holds_every_lease_until_it_has_heard_all_again(
    database_url: str,
) -> None:
    async with engine(database_url, lease_s=1.0) as stage:
        await stage.until("SELECT read_through > '-infinity' FROM recorders")
        await stage.db.execute("ALTER TABLE executors RENAME TO elsewhere")

        await stage.executor.beat()
        await stage.until("SELECT read_through = '-infinity' FROM recorders")
        await stage.db.execute("ALTER TABLE elsewhere RENAME TO executors")

        await stage.until("SELECT read_through > '-infinity' FROM recorders")


async def test_a_recorder_that_gave_ends_back_holds_every_lease_until_it_has_recorded_them(database_url: str) -> None:
    async with engine(database_url, lease_s=3.0) as stage:
        stage.executor.script = {"job": [None]}
        await stage.apply(job={"run": {"command": ["true"]}})
        await stage.until("SELECT read_through > '-infinity' FROM recorders")
        await stage.executor.beat()
        await stage.fire("job")
        offer, claim_id = await stage.grant(0)
        await stage.db.execute("ALTER TABLE attempts RENAME TO elsewhere")

        await stage.executor.finish(offer, claim_id, Outcome.SUCCEEDED)
        await stage.until("SELECT read_through = '-infinity' FROM recorders")
        await stage.until("SELECT now() > lease_until + interval '1 second' FROM runs")
        await stage.db.execute("ALTER TABLE elsewhere RENAME TO attempts")

        assert {"job": ["succeeded"]} == await stage.settled(1)
        assert [(1, "succeeded")] == [
            tuple(row) for row in await stage.db.fetch("SELECT attempt, outcome FROM attempts")
        ]
