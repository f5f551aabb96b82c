"""Attempts: claims, returns, retries, lost leases, cancels, late words. Each write is fenced."""

import uuid

from scheduler.transport.topology import topology
from schemas.message import AttemptKey
from schemas.vocabulary import Outcome
from tests.support.engine import engine
from tests.support.transports import eventually

TRUE = {"command": ["true"]}
RETRY = {"attempts": 3, "backoff": "fixed", "initial": "100ms", "jitter": 0.0}


async def test_one_claim_of_an_attempt_is_granted_and_the_same_one_again(database_url: str) -> None:
    async with engine(database_url) as stage:
        stage.executor.script["job"] = [None]
        await stage.apply(job={"run": TRUE})
        await stage.fire("job")
        await stage.until("SELECT count(*) FROM runs WHERE state = 'running'")
        offer, claim_id = await stage.grant(0)

        other = await stage.executor.claim(offer)
        await stage.executor.claim(offer, claim_id)
        await stage.until("SELECT $1 = ANY(SELECT owner FROM runs)", claim_id)
        await stage.heard(lambda: len(stage.executor.granted) == 2 and len(stage.executor.denied) == 1)

        assert [claim_id, claim_id] == [granted for _, granted in stage.executor.granted]
        assert [other] == [answer.claim_id for answer in stage.executor.denied]


async def test_failed_attempts_are_tried_again_until_one_succeeds(database_url: str) -> None:
    async with engine(database_url) as stage:
        stage.executor.script["flaky"] = [Outcome.FAILED, Outcome.TIMED_OUT, Outcome.SUCCEEDED]
        await stage.apply(flaky={"run": TRUE, "retry": RETRY}, after={"run": TRUE, "needs": ["flaky"]})

        await stage.fire("flaky")

        assert {"flaky": ["succeeded"], "after": ["succeeded"]} == await stage.settled(2)
        flaky = await stage.db.fetchval("SELECT id FROM runs WHERE job_name = 'flaky'")
        rows = await stage.db.fetch("SELECT attempt, outcome FROM attempts WHERE run_id = $1 ORDER BY 1", flaky)
        assert [(1, "failed"), (2, "timed_out"), (3, "succeeded")] == [tuple(row) for row in rows]


async def test_run_that_used_up_its_attempts_is_dead_and_skips_what_needs_it(database_url: str) -> None:
    async with engine(database_url) as stage:
        stage.executor.script["flaky"] = [Outcome.FAILED] * 3
        await stage.apply(flaky={"run": TRUE, "retry": RETRY}, after={"run": TRUE, "needs": ["flaky"]})

        await stage.fire("flaky")

        assert {"flaky": ["failed"], "after": ["skipped"]} == await stage.settled(2)
        assert 3 == await stage.db.fetchval("SELECT count(*) FROM attempts")


async def test_lease_that_runs_out_gives_the_run_to_attempt_2_and_fences_attempt_1(database_url: str) -> None:
    async with engine(database_url, lease_s=1.0, alive=False) as stage:
        stage.executor.script["job"] = [None, None]
        await stage.apply(job={"run": TRUE})
        await stage.executor.beat()
        await stage.fire("job")
        offers = await stage.executor.transport.consumer("scheduler.executor.default", credit=10, name="test")
        first, first_claim = await stage.claim_next(offers)
        await stage.until("SELECT count(*) FROM attempts WHERE outcome = 'lost'")
        stage.recorder._lease_s = 30.0  # nobody beats for attempt 2: no pause of this machine is to end it
        second, second_claim = await stage.claim_next(offers)

        await stage.until("SELECT attempt = 2 AND state = 'running' FROM runs")
        await stage.executor.finish(first, first_claim, Outcome.SUCCEEDED)
        await stage.until("SELECT late_end IS NOT NULL FROM attempts WHERE attempt = 1")
        state = await stage.db.fetchval("SELECT state FROM runs")
        await stage.executor.finish(second, second_claim, Outcome.SUCCEEDED)

        assert state == "running"
        assert {"job": ["succeeded"]} == await stage.settled(1)
        assert ["lost", "succeeded"] == [
            row["outcome"] for row in await stage.db.fetch("SELECT outcome FROM attempts ORDER BY attempt")
        ]


async def test_heartbeats_keep_the_lease_and_name_what_is_lost(database_url: str) -> None:
    async with engine(database_url) as stage:
        stage.executor.script["job"] = [None]
        await stage.apply(job={"run": TRUE})
        await stage.fire("job")
        before = await stage.until("SELECT lease_until FROM runs WHERE state = 'running'")
        offer, _ = await stage.grant(0)
        held = AttemptKey(run_id=offer.run_id, attempt=1, lease_token=offer.lease_token)
        stranger = AttemptKey(run_id=uuid.uuid4(), attempt=1, lease_token=uuid.uuid4())

        await stage.executor.beat(held, stranger)

        await stage.until("SELECT lease_until > $1 FROM runs", before)
        await stage.heard(lambda: any(answer.lost for answer in stage.executor.answers))
        assert [(stranger,)] == [answer.lost for answer in stage.executor.answers if answer.lost]


async def test_on_lost_fail_ends_the_run(database_url: str) -> None:
    async with engine(database_url, lease_s=1.0) as stage:
        stage.executor.script["job"] = [None]
        await stage.apply(job={"run": TRUE, "on_lost": "fail"})

        await stage.fire("job")

        assert {"job": ["failed"]} == await stage.settled(1)


async def test_late_grant_handed_back_costs_no_attempt_and_voids_the_old_offer(database_url: str) -> None:
    async with engine(database_url) as stage:
        stage.executor.script["job"] = [None]
        await stage.apply(job={"run": TRUE})
        await stage.fire("job")
        await stage.until("SELECT count(*) FROM runs WHERE state = 'running'")
        offer, claim_id = await stage.grant(0)

        await stage.executor.give_back(offer, claim_id)
        await stage.until("SELECT owner <> $1 FROM runs WHERE state = 'running'", claim_id)
        await stage.executor.claim(offer)
        await stage.heard(lambda: bool(stage.executor.denied))

        again, _ = await stage.grant(1)
        assert (1, 1) == (offer.attempt, again.attempt)
        assert offer.lease_token != again.lease_token


async def test_return_by_a_claim_that_does_not_hold_the_attempt_changes_nothing(database_url: str) -> None:
    async with engine(database_url) as stage:
        stage.executor.script["job"] = [None]
        await stage.apply(job={"run": TRUE})
        await stage.fire("job")
        await stage.until("SELECT count(*) FROM runs WHERE state = 'running'")
        offer, claim_id = await stage.grant(0)

        await stage.executor.give_back(offer, uuid.uuid4())
        await stage.executor.give_back(offer, None)
        await stage.executor.finish(offer, claim_id, Outcome.SUCCEEDED)

        assert {"job": ["succeeded"]} == await stage.settled(1)
        assert 1 == len(stage.executor.granted)


async def test_repeated_and_reordered_ends_settle_once_and_are_all_confirmed(database_url: str) -> None:
    async with engine(database_url) as stage:
        stage.executor.script["job"] = [None]
        await stage.apply(job={"run": TRUE})
        await stage.fire("job")
        await stage.until("SELECT count(*) FROM runs WHERE state = 'running'")
        offer, claim_id = await stage.grant(0)

        for outcome in (Outcome.SUCCEEDED, Outcome.FAILED, Outcome.SUCCEEDED):
            await stage.executor.finish(offer, claim_id, outcome)
            await stage.until("SELECT state IN ('succeeded') FROM runs")
        await stage.heard(lambda: 3 == sum(len(answer.ends) for answer in stage.executor.answers))

        assert [(1, "succeeded")] == [
            tuple(row) for row in await stage.db.fetch("SELECT attempt, outcome FROM attempts")
        ]


async def test_end_of_a_run_nobody_knows_is_kept(database_url: str) -> None:
    async with engine(database_url) as stage:
        await stage.apply(job={"run": TRUE})
        await stage.fire("job")
        await stage.settled(1)
        offer, claim_id = await stage.grant(0)
        stranger = offer.model_copy(update={"run_id": uuid.uuid4()})

        await stage.executor.finish(stranger, claim_id, Outcome.SUCCEEDED)

        assert stranger.run_id == await stage.until("SELECT run_id FROM orphan_ends")


async def test_offers_nobody_can_take_wait_in_the_backlog(database_url: str) -> None:
    """A handler that a live executor lacks is not offered to its pool; once all have it, it is."""
    async with engine(database_url) as stage:
        await stage.apply(needy={"run": {"handler": "rare"}}, plain={"run": TRUE})
        await stage.fire("needy")
        await stage.fire("plain")
        assert {"needy": ["ready"], "plain": ["succeeded"]} == await stage.settled(1)

        stage.executor.handlers = ("rare",)
        await stage.executor.beat()

        assert {"needy": ["succeeded"], "plain": ["succeeded"]} == await stage.settled(2)


async def test_offers_lost_by_the_broker_are_said_again(database_url: str) -> None:
    async with engine(database_url, resend_s=0.3, alive=False) as stage:
        await stage.executor.beat()
        await stage.apply(job={"run": TRUE})
        await stage.fire("job")

        async def offered() -> int:
            return (await stage.executor.transport.depth("scheduler.executor.default"))[0]

        await eventually(offered, 1)  # what is committed is not published yet

        stage.broker.wipe(topology({"default": 1000}))
        stage.broker.declare(topology({"default": 1000}))

        assert await stage.until("SELECT intent FROM runs", holds=lambda intent: intent > 1)


async def test_run_not_started_in_time_fails_without_an_attempt(database_url: str) -> None:
    async with engine(database_url, alive=False) as stage:
        await stage.apply(job={"run": TRUE, "timeout": {"queue": "200ms"}}, after={"run": TRUE, "needs": ["job"]})

        await stage.fire("job")

        assert {"job": ["failed"], "after": ["skipped"]} == await stage.settled(2)
        assert 0 == await stage.db.fetchval("SELECT count(*) FROM attempts")


async def test_urgent_runs_are_offered_before_the_backlog(database_url: str) -> None:
    async with engine(database_url, alive=False) as stage:
        await stage.apply(
            low={"run": TRUE, "priority": "low", "overlap": "allow"},
            urgent={"run": TRUE, "priority": "critical", "overlap": "allow"},
        )
        for name in ("low", "low", "urgent", "low", "urgent"):
            await stage.fire(name)
        await stage.until("SELECT count(*) = 5 FROM runs WHERE state = 'ready'")

        await stage.executor.beat()
        await stage.until("SELECT count(*) = 5 FROM runs WHERE state = 'queued'")

        order = await stage.db.fetch("SELECT job_name FROM runs ORDER BY queued_at, priority, id")
        assert ["urgent", "urgent", "low", "low", "low"] == [row["job_name"] for row in order]


async def test_attempts_spread_over_several_heartbeats_all_keep_their_leases(database_url: str) -> None:
    """An executor with very many attempts names them in several heartbeats, which may be read together."""
    async with engine(database_url) as stage:
        stage.executor.script["job"] = [None]
        await stage.apply(job={"run": TRUE, "overlap": "allow"})
        for _ in range(2):
            await stage.fire("job")
        await stage.until("SELECT count(*) = 2 FROM runs WHERE state = 'running'")
        before = await stage.db.fetchval("SELECT max(lease_until) FROM runs")
        offers = [(await stage.grant(index))[0] for index in range(2)]
        keys = [AttemptKey(run_id=o.run_id, attempt=o.attempt, lease_token=o.lease_token) for o in offers]
        beats = [stage.executor.heartbeat(key) for key in keys]

        await stage.recorder.on_heartbeats(beats)

        assert 2 == await stage.db.fetchval("SELECT count(*) FROM runs WHERE lease_until > $1", before)
        await stage.heard(lambda: {beat.seq for beat in beats} <= {answer.seq for answer in stage.executor.answers})
        assert [()] * 2 == [answer.lost for answer in stage.executor.answers if answer.seq in {b.seq for b in beats}]


async def test_run_cancelled_before_its_grant_was_handed_back_does_not_start_again(database_url: str) -> None:
    async with engine(database_url) as stage:
        stage.executor.script["job"] = [None]
        await stage.apply(job={"run": TRUE}, after={"run": TRUE, "needs": ["job"]})
        await stage.fire("job")
        await stage.until("SELECT count(*) FROM runs WHERE state = 'running'")
        offer, claim_id = await stage.grant(0)
        await stage.db.execute("UPDATE runs SET cancel_at = now(), cancel_reason = 'no' WHERE state = 'running'")

        await stage.executor.give_back(offer, claim_id)

        assert {"job": ["cancelled"], "after": ["skipped"]} == await stage.settled(2)
        assert 1 == len(stage.executor.granted)


async def test_offers_that_are_still_in_the_queue_are_not_said_again(database_url: str) -> None:
    """Slots busy for long: the offers wait in the queue, and copies of them would only fill it."""
    async with engine(database_url, resend_s=0.1, alive=False) as stage:
        await stage.executor.beat()
        await stage.apply(job={"run": TRUE})
        await stage.fire("job")
        await stage.until("SELECT count(*) FROM runs WHERE state = 'queued'")
        await stage.db.execute("UPDATE runs SET queued_at = now() - interval '1 hour', sweep_at = now()")

        await stage.until("SELECT sweep_at > now() FROM runs")

        assert 1 == await stage.db.fetchval("SELECT intent FROM runs")


async def test_snoozed_attempts_use_up_none(database_url: str) -> None:
    async with engine(database_url) as stage:
        stage.executor.script["job"] = [Outcome.SNOOZED, Outcome.FAILED, Outcome.FAILED]
        await stage.apply(job={"run": TRUE, "retry": RETRY | {"attempts": 2}})

        await stage.ticker.stop()  # which would wake it before it was looked at
        await stage.fire("job")
        waiting = await stage.until("SELECT reason FROM runs WHERE state = 'backing_off'")
        await stage.ticker.start()

        assert waiting == "asked to be run later, in 1s"
        assert {"job": ["failed"]} == await stage.settled(1)
        assert (3, 1) == tuple(await stage.db.fetchrow("SELECT attempt, snoozes FROM runs"))
        assert ["snoozed", "failed", "failed"] == [
            row["outcome"] for row in await stage.db.fetch("SELECT outcome FROM attempts ORDER BY attempt")
        ]
