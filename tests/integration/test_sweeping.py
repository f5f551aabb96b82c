"""The sweep: what is owed is done whatever became of its message, and one bad row holds up no other."""

from scheduler.store.sweeping import expire_waiting
from scheduler.transport.topology import topology
from schemas.vocabulary import ReturnReason
from tests.support.engine import Engine, engine

TRUE = {"command": ["true"]}


async def postponed(stage: Engine, table: str, where: str) -> None:
    """Return when a row is to be looked at again only after a pause."""
    await stage.until(f"SELECT sweep_at > now() + interval '3 seconds' FROM {table} WHERE {where}")


async def test_a_firing_that_cannot_be_decided_is_postponed_and_the_others_are_decided(database_url: str) -> None:
    async with engine(database_url) as stage:
        await stage.apply(job={"run": TRUE, "overlap": "allow"})
        await stage.db.execute("ALTER TABLE runs ADD CHECK (coalesce(params ->> 'x', '') <> 'bad')")

        async with stage.db.transaction():
            for x in ("good", "bad", "good", "good"):
                await stage.fire("job", params={"x": x})

        assert {"job": ["succeeded"] * 3} == await stage.settled(3)
        await postponed(stage, "firings", "params ->> 'x' = 'bad'")
        assert 1 == await stage.db.fetchval("SELECT count(*) FROM firings WHERE verdict IS NULL")


async def test_the_pause_of_a_bad_firing_grows_with_its_age(database_url: str) -> None:
    async with engine(database_url) as stage:
        await stage.apply(job={"run": TRUE})
        await stage.db.execute("ALTER TABLE runs ADD CHECK (job_name <> 'job')")

        firing = await stage.fire("job")
        await postponed(stage, "firings", "true")
        await stage.db.execute("UPDATE firings SET planned_at = now() - interval '9 minutes', sweep_at = now()")
        await stage.db.execute("SELECT pg_notify('scheduler_work', '')")

        await stage.until("SELECT sweep_at > now() + interval '8 minutes' FROM firings WHERE id = $1", firing)


async def test_a_step_that_cannot_be_done_is_postponed_and_the_others_are_done(database_url: str) -> None:
    async with engine(database_url) as stage:
        await stage.apply(bad={"run": TRUE}, worse={"run": TRUE, "needs": ["bad"]})
        await stage.db.execute("ALTER TABLE runs ADD CHECK (job_name <> 'worse' OR state = 'waiting')")
        await stage.fire("bad")
        await stage.until("SELECT count(*) FROM runs WHERE job_name = 'bad' AND state = 'succeeded'")
        await stage.apply(good={"run": TRUE}, better={"run": TRUE, "needs": ["good"]})
        await stage.fire("good")
        await stage.until("SELECT count(*) FROM runs WHERE job_name = 'good' AND state = 'succeeded'")

        await stage.db.execute("UPDATE runs SET sweep_at = now() WHERE finished_at IS NOT NULL AND has_downstream")

        await stage.until("SELECT count(*) FROM runs WHERE job_name = 'better' AND state = 'succeeded'")
        await postponed(stage, "runs", "job_name = 'bad'")


async def test_all_that_waited_too_long_is_ended_however_much_it_is(database_url: str) -> None:
    async with engine(database_url, alive=False) as stage:
        await stage.dispatcher.stop()
        await stage.db.execute(
            """INSERT INTO runs (id, tenant, job_id, job_version, job_name, flow_id, fired_at, state, pool, priority,
                                 queue_until, sweep_at)
               SELECT gen_random_uuid(), 'default', gen_random_uuid(), 1, 'j', gen_random_uuid(), now(), 'ready',
                      'nowhere', 2, now(), now() FROM generate_series(1, 7)"""
        )

        ended = await expire_waiting(stage.stores.main, 2)

        left = await stage.db.fetchval("SELECT count(*) FROM runs WHERE state = 'ready'")
        assert (0, 7) == (left, ended)


async def test_timeout_queue_is_judged_by_the_claim_and_the_database_clock(database_url: str) -> None:
    """An executor's wall clock may be wrong by hours; the one that granted the lease decides."""
    async with engine(database_url, alive=False) as stage:
        await stage.executor.beat()
        await stage.apply(job={"run": TRUE, "timeout": {"hard": "1m", "queue": "1h"}})
        await stage.fire("job")
        await stage.until("SELECT count(*) FROM runs WHERE state = 'queued'")
        await stage.db.execute("UPDATE runs SET queue_until = now()")
        consumer = await stage.executor.transport.consumer("scheduler.executor.default", credit=1, name="late")

        await stage.executor.claim(stage.executor.read(await consumer.take(1))[0])

        await stage.heard(lambda: len(stage.executor.denied) == 1)
        await stage.db.execute("UPDATE runs SET sweep_at = now()")
        assert {"job": ["failed"]} == await stage.settled(1)
        assert "timed_out" == await stage.db.fetchval("SELECT outcome FROM runs")


async def test_a_pool_without_a_queue_holds_up_no_other(database_url: str) -> None:
    async with engine(database_url, resend_s=0.3) as stage:
        await stage.db.execute("INSERT INTO pools (name) VALUES ('a-gone')")
        await stage.apply(lost={"run": TRUE, "pool": "a-gone"}, job={"run": TRUE})
        await stage.db.execute(
            """INSERT INTO executors (boot_id, name, pool, slots, busy, handlers, host, pid, version)
               VALUES (gen_random_uuid(), 'e', 'a-gone', 5, 0, '{}', 'h', 1, '0')"""
        )
        await stage.fire("lost")
        await stage.until("SELECT count(*) FROM runs WHERE job_name = 'lost' AND state = 'queued'")
        first = await stage.db.fetchval("SELECT sweep_at FROM runs")
        await stage.until("SELECT sweep_at > $1 FROM runs WHERE job_name = 'lost'", first)

        stage.broker.declare(topology({"default": 1000, "a-gone": 1000}))

        consumer = await stage.executor.transport.consumer("scheduler.executor.a-gone", credit=1, name="e")
        assert ["lost"] == [offer.order.job for offer in stage.executor.read(await consumer.take(1))]


async def test_what_an_executor_cannot_run_is_offered_again_after_a_pause_and_keeps_its_deadline(
    database_url: str,
) -> None:
    async with engine(database_url, alive=False) as stage:
        await stage.executor.beat()
        await stage.apply(job={"run": TRUE, "timeout": {"hard": "1m", "queue": "1h"}})
        await stage.fire("job")
        deadline = await stage.until("SELECT queue_until FROM runs WHERE state = 'queued'")
        consumer = await stage.executor.transport.consumer("scheduler.executor.default", credit=5, name="unable")
        batch = await consumer.take(1)

        await stage.executor.give_back(stage.executor.read(batch)[0], None, ReturnReason.NO_HANDLER)
        await consumer.ack(batch)

        await stage.until("SELECT sweep_at > now() + interval '3 seconds' FROM runs WHERE state = 'backing_off'")
        assert "handler" in await stage.db.fetchval("SELECT reason FROM runs")
        await stage.db.execute("UPDATE runs SET sweep_at = now()")
        await stage.db.execute("SELECT pg_notify('scheduler_wake', '')")
        again = stage.executor.read(await consumer.take(1))[0]
        assert (1, deadline) == (again.attempt, await stage.db.fetchval("SELECT queue_until FROM runs"))
