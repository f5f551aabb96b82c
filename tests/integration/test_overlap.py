"""Overlap: who waits for whom, who is ended for whom, and that no place is given away twice or never."""

import pytest

from scheduler.store.control import cancel_run, pause_job
from scheduler.store.definitions import delete_job
from schemas.message import AttemptKey
from schemas.vocabulary import Outcome
from tests.support.engine import engine
from tests.support.overlapping import RUNS, TRUE, WATCH, begin, end, fired, slow, states


async def test_queue_one_lets_one_wait_and_skips_what_comes_then(database_url: str) -> None:
    async with engine(database_url) as stage:
        first = await begin(stage, "queue_one")

        verdict, reason, waiting, blocking = await fired(stage)
        skipped = await fired(stage)

        assert ("started", f"waits for run {first} (overlap queue_one)", first) == (verdict, reason, blocking)
        assert reason == await stage.db.fetchval("SELECT reason FROM runs WHERE id = $1", waiting)
        assert ("skipped_overlap", f"run {waiting} waits for its turn already", None, waiting) == skipped
        await end(stage, 0)
        await states(stage, "succeeded", "running")
        assert await stage.db.fetchval("SELECT reason FROM runs WHERE id = $1", waiting) is None
        await end(stage, 1)
        assert {"slow": ["succeeded", "succeeded"]} == await stage.settled(2)


@pytest.mark.parametrize("most", [1, 2])
async def test_queue_all_runs_in_order_as_many_at_once_as_may_be(database_url: str, most: int) -> None:
    async with engine(database_url) as stage:
        await stage.db.execute(WATCH)
        first = await begin(stage, "queue_all", max_running=most)

        wanted = [first, *[(await fired(stage))[2] for _ in range(4)]]

        await states(stage, *["running"] * most, *["waiting"] * (5 - most))
        for index in range(5):
            await end(stage, index)
        await stage.settled(5)
        begun = [offer.run_id for offer in stage.executor.offers]
        assert set(wanted) == set(begun)
        assert wanted == begun or most > 1  # two that are released together may change places on their way
        assert most == await stage.db.fetchval("SELECT max(active) FROM watched")


async def test_firings_that_are_decided_together_run_in_the_order_of_their_instants(database_url: str) -> None:
    """As those are that were missed: the runs of a batch are made within a millisecond."""
    async with engine(database_url) as stage:
        await stage.apply(slow=slow("queue_all"))
        await stage.db.execute(
            """INSERT INTO firings (id, tenant, kind, job_id, job_version, fires_at, wall_time, zone, sweep_at)
               SELECT gen_random_uuid(), tenant, 'manual', id, version, now() - g * interval '1 minute', 'x', 'UTC',
                      now() FROM jobs, generate_series(1, 8) AS g"""
        )
        await stage.db.execute("SELECT pg_notify('scheduler_work', '')")
        await stage.settled(8)

        begun = [offer.order.fired_at for offer in stage.executor.offers]
        assert sorted(begun) == begun


async def test_run_that_backs_off_keeps_its_place(database_url: str) -> None:
    async with engine(database_url) as stage:
        stage.executor.script["slow"] = [Outcome.FAILED, None]
        await stage.apply(slow=slow("queue_all", retry={"attempts": 2, "initial": "1h"}))
        await stage.fire("slow")
        await stage.until("SELECT count(*) FROM runs WHERE state = 'backing_off'")

        await fired(stage)

        await states(stage, "backing_off", "waiting")


async def test_cancel_previous_waits_until_the_older_run_has_really_ended(database_url: str) -> None:
    async with engine(database_url) as stage:
        first = await begin(stage, "cancel_previous")

        _, reason, newer, _ = await fired(stage)
        await stage.heard(lambda: bool(stage.executor.cancels))

        assert f"waits for run {first} (overlap cancel_previous)" == reason
        assert [(first, False)] == [(cancel.run_id, cancel.at_once) for cancel in stage.executor.cancels]
        await states(stage, "running", "waiting")
        await end(stage, 0, Outcome.CANCELLED)
        await states(stage, "cancelled", "running")
        said = await stage.db.fetchval("SELECT reason FROM runs WHERE id = $1", first)
        assert said == f"run {newer} takes its place (overlap cancel_previous)"


async def test_kill_previous_gives_no_grace_and_says_it_with_every_heartbeat(database_url: str) -> None:
    async with engine(database_url) as stage:
        first = await begin(stage, "kill_previous")

        await fired(stage)
        await stage.heard(lambda: bool(stage.executor.cancels))
        offer, _ = stage.executor.granted[0]
        key = AttemptKey(run_id=offer.run_id, attempt=1, lease_token=offer.lease_token)
        await stage.executor.beat(key)
        await stage.heard(lambda: any(answer.kills for answer in stage.executor.answers))

        assert [(first, True)] == [(cancel.run_id, cancel.at_once) for cancel in stage.executor.cancels]
        answer = next(answer for answer in stage.executor.answers if answer.kills)
        assert ((key,), (key,)) == (answer.cancels, answer.kills)


async def test_of_several_that_wait_for_a_cancelled_run_the_newest_stays(database_url: str) -> None:
    async with engine(database_url) as stage:
        stage.executor.script["after"] = []
        await begin(stage, "cancel_previous")
        await stage.apply(after={"run": TRUE, "needs": [{"job": "slow", "when": "finished"}]})
        replaced = (await fired(stage))[2]

        newest = (await fired(stage))[2]

        await states(stage, "running", "cancelled", "waiting")
        said = await stage.db.fetchval("SELECT reason FROM runs WHERE id = $1", replaced)
        assert said == f"run {newest} takes its place (overlap cancel_previous)"
        await stage.until("SELECT count(*) FROM runs WHERE job_name = 'after' AND state = 'succeeded'")
        assert 1 == len(stage.executor.cancels)


async def test_cancel_previous_ends_a_run_that_nobody_has_started_at_once(database_url: str) -> None:
    async with engine(database_url, alive=False) as stage:
        await stage.apply(slow=slow("cancel_previous"))
        await fired(stage)

        await fired(stage)

        await states(stage, "cancelled", "ready")


async def test_cancel_previous_ends_no_more_than_has_to_go(database_url: str) -> None:
    async with engine(database_url) as stage:
        await begin(stage, "cancel_previous", max_running=2)
        await fired(stage)
        await states(stage, "running", "running")

        await fired(stage)

        await stage.heard(lambda: bool(stage.executor.cancels))
        first = await stage.db.fetchval("SELECT array_agg(id ORDER BY id) FROM runs WHERE cancel_at IS NOT NULL")
        assert first == [stage.executor.granted[0][0].run_id]


@pytest.mark.parametrize("overlap", ["queue_one", "cancel_previous"])
async def test_waiting_run_can_be_cancelled(database_url: str, overlap: str) -> None:
    async with engine(database_url) as stage:
        await begin(stage, overlap)
        waiting = (await fired(stage))[2]
        assert waiting is not None

        assert "cancelled" == await cancel_run(stage.stores.main, "default", waiting, reason="not now")

        await stage.until("SELECT sweep_at IS NULL FROM runs WHERE id = $1", waiting)
        await end(stage, 0)
        await stage.until("SELECT count(*) = 2 FROM runs WHERE finished_at IS NOT NULL AND sweep_at IS NULL")
        assert 1 == len(stage.executor.offers)


async def test_paused_or_deleted_job_lets_what_waits_go_on(database_url: str) -> None:
    async with engine(database_url) as stage:
        await begin(stage, "queue_all")
        await fired(stage)
        await fired(stage)
        store = stage.stores.main

        await pause_job(store, "default", "slow", note=None, clock=stage.clock)
        await end(stage, 0)
        await states(stage, "succeeded", "running", "waiting")
        await delete_job(store, "default", "slow", clock=stage.clock)
        await end(stage, 1)
        await states(stage, "succeeded", "succeeded", "running")


async def test_line_moves_when_the_limit_is_raised(database_url: str) -> None:
    async with engine(database_url) as stage:
        await begin(stage, "queue_all")
        await fired(stage)
        await fired(stage)

        await stage.apply(slow=slow("queue_all", max_running=2))
        await states(stage, "running", "running", "waiting")
        await stage.apply(slow=slow("allow"))

        await states(stage, "running", "running", "running")


async def test_run_that_began_before_the_policy_gives_its_turn_on(database_url: str) -> None:
    async with engine(database_url) as stage:
        await begin(stage, "skip")
        await stage.apply(slow=slow("queue_all"))
        await fired(stage)

        await end(stage, 0)

        await states(stage, "succeeded", "running")


async def test_end_whose_step_was_lost_is_swept(database_url: str) -> None:
    async with engine(database_url) as stage:
        await begin(stage, "queue_all")
        await fired(stage)

        await stage.db.execute(
            """UPDATE runs SET state = 'succeeded', finished_at = now(), lease_token = NULL, sweep_at = now()
               WHERE state = 'running'"""
        )

        await states(stage, "succeeded", "running")
        await stage.until("SELECT sweep_at IS NULL FROM runs WHERE state = 'succeeded'")


async def test_run_that_came_into_line_by_its_needs_is_looked_at_after_a_crash(database_url: str) -> None:
    async with engine(database_url) as stage:
        await begin(stage, "queue_all")
        await fired(stage)
        await stage.db.execute("UPDATE runs SET sweep_at = now() WHERE state = 'waiting'")
        await end(stage, 0)
        await stage.db.execute("SELECT pg_notify('scheduler_wake', '')")

        await states(stage, "succeeded", "running")
        assert await stage.db.fetchval("SELECT count(*) FROM runs WHERE state = 'waiting'") == 0


async def test_runs_released_by_needs_take_turns_too(database_url: str) -> None:
    """Two flows reach ``slow`` at the same time; a delay and a firing of its own change nothing."""
    async with engine(database_url) as stage:
        stage.executor.script["slow"] = [None]
        needs = [{"job": "root", "delay": "100ms"}]
        await stage.apply(root={"run": TRUE, "overlap": "allow"}, slow=slow("queue_all", needs=needs))

        await stage.fire("root")
        await stage.fire("root")
        await stage.until(RUNS, holds=lambda found: sorted(found or ()) == ["running", "waiting"])
        running, waiting = await stage.db.fetchval(
            "SELECT array_agg(id ORDER BY state) FROM runs WHERE job_name = 'slow'"
        )
        await stage.until(
            "SELECT reason FROM runs WHERE id = $1",
            waiting,
            holds=lambda reason: reason == f"waits for run {running} (overlap queue_all)",
        )
        own = (await fired(stage))[2]
        for index in range(3):
            await end(stage, index)

        await stage.until("SELECT count(*) = 3 FROM runs WHERE job_name = 'slow' AND state = 'succeeded'")
        assert [running, waiting, own] == [offer.run_id for offer in stage.executor.offers if offer.order.job == "slow"]
