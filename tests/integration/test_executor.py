"""The executor's protocol: claim, start, finish, and what happens when an answer does not come."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from scheduler.clock import VirtualClock
from scheduler.transport.topology import DEAD_LETTERS
from schemas.commands import CancelAttempt, StartAttempt
from schemas.facts import HeartbeatRecorded
from schemas.message import AttemptKey
from schemas.registry import dump
from schemas.vocabulary import Outcome, ReturnReason
from tests.support.executing import QUEUE, Stage, noon, offer, until


def key_of(start: StartAttempt) -> AttemptKey:
    return AttemptKey(run_id=start.run_id, attempt=start.attempt, lease_token=start.lease_token)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with Stage(tmp_path) as made:
        await made.executor.start()
        yield made


@pytest.fixture
async def slow(tmp_path: Path) -> AsyncIterator[Stage]:
    """A stage whose executor's time moves only when the test moves it."""
    async with Stage(tmp_path, clock=VirtualClock(noon())) as made:
        await made.executor.start()
        yield made


async def advance(stage: Stage, seconds: float) -> None:
    assert isinstance(stage.clock, VirtualClock)
    await stage.clock.advance(timedelta(seconds=seconds))


async def test_a_granted_attempt_runs_and_its_end_is_told(stage):
    start = offer()
    await stage.publish(start)
    await until(lambda: stage.recorder.finished)
    end, claim = stage.recorder.finished[0], stage.recorder.claims[0]
    assert (start.run_id, 1, start.lease_token) == (end.run_id, end.attempt, end.lease_token)
    assert (claim.claim_id, stage.executor.boot_id) == (end.claim_id, end.boot_id)
    assert Outcome.SUCCEEDED is end.outcome
    await until(lambda: not stage.executor.ends)
    assert 0 == stage.in_queue()


async def test_a_child_run_is_started_and_told_like_an_inline_one(stage):
    start = offer("child")
    await stage.publish(start)
    await until(lambda: stage.sandbox.started)
    stage.sandbox.finish(start.run_id)
    await until(lambda: stage.recorder.finished)


async def test_the_offer_is_acked_when_granted_not_when_the_job_ends(stage):
    await stage.publish(offer("hold"))
    await until(lambda: stage.sandbox.started)
    await until(lambda: stage.in_queue() == 0)
    assert [] == stage.recorder.finished


async def test_a_denied_offer_is_acked_and_not_started(stage):
    stage.recorder.rule = lambda _: False
    await stage.publish(offer())
    await until(lambda: stage.recorder.claims)
    stage.recorder.rule = lambda _: True
    await stage.publish(later := offer())
    await until(lambda: stage.recorder.finished)
    assert [later.run_id] == stage.sandbox.started
    assert 0 == stage.in_queue()


async def test_each_delivery_of_an_offer_makes_a_claim_of_its_own(stage):
    start = offer("hold")
    stage.grant_once()
    await stage.publish(start)
    await stage.publish(start)
    await until(lambda: len(stage.recorder.claims) == 2)
    await until(lambda: stage.sandbox.started)
    assert 2 == len({claim.claim_id for claim in stage.recorder.claims})
    await stage.publish(offer())
    await until(lambda: stage.recorder.finished)
    assert 1 == stage.starts()[start.run_id]


async def test_silence_sends_the_same_claim_once_more_then_forgets_and_returns_a_late_grant(slow):
    start = offer()
    slow.recorder.rule = lambda _: None
    await slow.publish(start)
    await until(lambda: len(slow.recorder.claims) == 1)
    await advance(slow, 6)
    await until(lambda: len(slow.recorder.claims) == 2)
    assert 1 == slow.in_queue()
    await advance(slow, 6)
    await until(lambda: slow.executor.desk.free == slow.slots)
    assert slow.recorder.claims[0] == slow.recorder.claims[1]
    assert 0 == slow.in_queue()

    slow.recorder.answer(slow.recorder.claims[0], granted=True)
    await until(lambda: slow.recorder.returned)
    slow.recorder.answer(slow.recorder.claims[0], granted=True)  # the answer to the second sending
    slow.recorder.rule = lambda _: True
    await slow.publish(later := offer())
    await until(lambda: slow.recorder.finished)
    returned = slow.recorder.returned
    assert [(ReturnReason.LATE_GRANT, start.run_id)] == [(each.reason, each.run_id) for each in returned]
    assert slow.recorder.claims[0].claim_id == returned[0].claim_id
    assert [later.run_id] == slow.sandbox.started


async def test_a_claim_answered_twice_starts_once_and_returns_nothing(stage):
    stage.recorder.rule = lambda _: None
    await stage.publish(start := offer())
    await until(lambda: stage.recorder.claims)
    stage.recorder.answer(stage.recorder.claims[0], granted=True)
    stage.recorder.answer(stage.recorder.claims[0], granted=True)
    await until(lambda: stage.recorder.finished)
    await stage.publish(offer())
    await until(lambda: len(stage.recorder.claims) == 2)
    assert 1 == stage.starts()[start.run_id]
    assert [] == stage.recorder.returned


async def test_an_offer_for_a_sandbox_is_returned_unclaimed_by_an_executor_that_has_none(stage):
    closed = offer()
    await stage.publish(closed.model_copy(update={"order": closed.order.model_copy(update={"isolation": "sandbox"})}))
    await until(lambda: stage.recorder.returned)
    assert (ReturnReason.NO_SANDBOX, None) == (stage.recorder.returned[0].reason, stage.recorder.returned[0].claim_id)
    assert ([], {}) == (stage.recorder.claims, stage.starts())


async def test_an_offer_for_a_handler_that_is_not_here_is_returned_unclaimed(stage):
    await stage.publish(offer("elsewhere"))
    await until(lambda: stage.recorder.returned)
    assert (ReturnReason.NO_HANDLER, None) == (stage.recorder.returned[0].reason, stage.recorder.returned[0].claim_id)
    await until(lambda: stage.executor.desk.free == stage.slots)
    assert [] == stage.recorder.claims


async def test_a_list_is_claimed_as_slots_get_free_and_acked_when_all_is_settled(slow):
    await slow.publish(*(starts := [offer("hold") for _ in range(3)]))
    await until(lambda: len(slow.sandbox.started) == 2)
    assert 1 == slow.in_queue()
    slow.sandbox.finish(starts[0].run_id)
    await until(lambda: len(slow.sandbox.started) == 3)
    await until(lambda: len(slow.recorder.claims) == 3)
    assert 0 == slow.in_queue()


async def test_the_rest_of_a_list_is_returned_when_the_slots_stay_busy(slow):
    await slow.publish(*(starts := [offer("hold") for _ in range(3)]))
    await until(lambda: len(slow.sandbox.started) == 2)
    await advance(slow, 3)
    await until(lambda: slow.recorder.returned)
    assert (ReturnReason.NO_SLOT, starts[2].run_id) == (
        slow.recorder.returned[0].reason,
        slow.recorder.returned[0].run_id,
    )
    await advance(slow, 1)
    assert 0 == slow.in_queue()


async def test_consuming_pauses_while_no_slot_is_free(slow):
    starts = [offer("hold") for _ in range(2)]
    await slow.publish(*starts)
    await until(lambda: len(slow.sandbox.started) == 2)
    await slow.publish(waiting := offer())
    await advance(slow, 0.5)
    assert 0 == slow.executor.desk.window.credit
    queue = slow.broker.queues[QUEUE]
    assert 1 == len(queue.ready)

    slow.sandbox.finish(starts[0].run_id)
    await until(lambda: waiting.run_id in slow.sandbox.started)
    await advance(slow, 2)
    assert 1 <= slow.executor.desk.window.credit


async def test_short_jobs_do_not_pause_consuming(slow):
    for _ in range(20):
        await slow.publish(*[offer() for _ in range(5)])
    await until(lambda: len(slow.recorder.finished) == 100)
    assert 0 < slow.executor.desk.window.credit
    assert {1} == set(slow.starts().values())


async def test_poison_on_the_pool_queue_is_buried_and_the_rest_runs(stage):
    good, bad = json.loads(dump([offer()])), {"type": "attempt.start", "v": 1, "run_id": 7}
    stray = json.loads(dump([CancelAttempt(tenant="default", **key_of(offer()).model_dump())]))
    await stage.publish_body(b"\x00 no json")
    await stage.publish_body(json.dumps([bad, good, stray, 5]).encode())
    await stage.publish_body(json.dumps(bad).encode())
    await until(lambda: stage.recorder.finished)
    await until(lambda: len(stage.broker.queues[DEAD_LETTERS].ready) == 5)
    await stage.publish(offer())
    await until(lambda: len(stage.recorder.finished) == 2)
    assert 0 == stage.in_queue()


async def test_poison_on_the_control_queue_is_buried_and_answers_are_still_heard(stage):
    stage.recorder.tell("one", offer())
    await until(lambda: stage.broker.queues[DEAD_LETTERS].ready)
    await stage.publish(offer())
    await until(lambda: stage.recorder.finished)


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("kind", ["hold", "child"])
async def test_a_cancelled_attempt_is_asked_to_stop_or_killed(stage, kind, at_once):
    await stage.publish(start := offer(kind))
    await until(lambda: stage.sandbox.started)
    stage.recorder.tell("one", CancelAttempt(tenant="default", at_once=at_once, **key_of(start).model_dump()))
    await until(lambda: stage.recorder.finished)
    assert (Outcome.CANCELLED, "cancelled") == (stage.recorder.finished[0].outcome, stage.recorder.finished[0].reason)
    assert at_once is stage.sandbox.stops[start.run_id].at_once


async def test_only_the_very_attempt_is_cancelled(stage):
    await stage.publish(start := offer("hold"))
    await until(lambda: stage.sandbox.started)
    other = key_of(start).model_copy(update={"attempt": 2})
    foreign = HeartbeatRecorded(tenant="default", boot_id=uuid.uuid4(), lost=(key_of(start),))
    stage.recorder.tell("one", CancelAttempt(tenant="default", **other.model_dump()), foreign)
    await stage.publish(offer())
    await until(lambda: stage.recorder.finished)
    assert stage.sandbox.stops[start.run_id].reason is None


@pytest.mark.parametrize(("field", "reason"), [("kills", "cancelled"), ("lost", "its lease was lost")])
async def test_a_heartbeat_answer_cancels_and_kills(stage, field, reason):
    await stage.publish(cancelled := offer("hold"), killed := offer("hold"))
    await until(lambda: len(stage.sandbox.started) == 2)
    answer = HeartbeatRecorded(
        tenant="default", boot_id=stage.executor.boot_id, cancels=(key_of(cancelled),), **{field: (key_of(killed),)}
    )
    stage.recorder.tell("one", answer)
    await until(lambda: len(stage.recorder.finished) == 2)
    stops = [stage.sandbox.stops[start.run_id] for start in (cancelled, killed)]
    assert [("cancelled", False), (reason, True)] == [(stop.reason, stop.at_once) for stop in stops]


async def test_lost_sessions_lose_no_offer_and_start_none_twice(slow):
    slow.grant_once()
    starts = [offer() for _ in range(40)]
    for at, start in enumerate(starts):
        await slow.publish(start)
        if at % 10 == 5:
            slow.transport.lose_connection()
    for _ in range(30):  # an answer that went with the control queue is asked for again after 5 s
        await advance(slow, 0.5)
        for _ in range(200):
            await asyncio.sleep(0)
    assert {start.run_id for start in starts} == {end.run_id for end in slow.recorder.finished}
    assert {start.run_id: 1 for start in starts} == slow.starts()
