"""An executor that nobody hears kills the attempts that demand it, in time, and starts nothing under an old grant."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from scheduler.clock import VirtualClock
from schemas.commands import StartAttempt
from schemas.vocabulary import OnLostContact, Outcome, ReturnReason
from tests.support.executing import Stage, noon, offer, until

LEASE_S = 6.0


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """A stage whose executor's time moves only when the test moves it, under leases of six seconds."""
    async with Stage(tmp_path, clock=VirtualClock(noon()), slots=4) as made:
        made.recorder.lease_s = LEASE_S
        await made.executor.start()
        yield made


def fenced(kind: str = "hold") -> StartAttempt:
    start = offer(kind)
    order = start.order.model_copy(update={"on_lost_contact": OnLostContact.KILL})
    return start.model_copy(update={"order": order})


async def advance(stage: Stage, seconds: float) -> None:
    await stage.clock.advance(timedelta(seconds=seconds))


async def silenced(stage: Stage) -> None:
    """Let no heartbeat be answered from now on; the last one that was is from this instant."""
    seen = len(stage.recorder.heartbeats)
    await advance(stage, LEASE_S / 3)
    await until(lambda: len(stage.recorder.heartbeats) > seen)
    await until(lambda: stage.executor.heartbeats.answered_at == stage.clock.monotonic())
    await stage.recorder.close()


@pytest.mark.parametrize("kind", ["hold", "child"])
async def test_what_demands_it_is_killed_at_seven_tenths_of_the_lease_and_the_rest_goes_on(stage, kind):
    await stage.publish(killed := fenced(kind), kept := offer(kind))
    await until(lambda: len(stage.sandbox.started) == 2)
    await silenced(stage)

    await advance(stage, 4.1)
    assert stage.sandbox.stops[killed.run_id].reason is None
    await advance(stage, 0.4)

    stop = stage.sandbox.stops[killed.run_id]
    assert (True, True) == (stop.at_once, "no heartbeat was recorded for 4." in (stop.reason or ""))
    assert stage.sandbox.stops[kept.run_id].reason is None
    await stage.recorder.start()
    await until(lambda: stage.recorder.finished)
    (end,) = stage.recorder.finished
    assert (killed.run_id, Outcome.LOST, stop.reason) == (end.run_id, end.outcome, end.reason)


async def test_answered_heartbeats_hold_an_attempt_for_as_long_as_it_takes(stage):
    await stage.publish(start := fenced())
    await until(lambda: stage.sandbox.started)

    for _ in range(10):
        before = len(stage.recorder.heartbeats)
        await advance(stage, LEASE_S / 3)
        await until(lambda before=before: len(stage.recorder.heartbeats) > before)
        await until(lambda: stage.executor.heartbeats.answered_at == stage.clock.monotonic())

    assert stage.sandbox.stops[start.run_id].reason is None


async def test_an_answer_to_an_old_heartbeat_holds_nothing(stage):
    """What a process that stood still finds in its socket was said before."""
    await stage.publish(start := fenced())
    await until(lambda: stage.sandbox.started)
    await silenced(stage)

    stage.clock._move_to(stage.clock.monotonic() + LEASE_S)  # it stands still: nobody is woken
    await stage.executor.on_recorded([])

    assert stage.sandbox.stops[start.run_id].at_once


async def test_a_grant_that_was_asked_for_long_ago_starts_nothing_and_is_handed_back(stage):
    stage.recorder.rule = lambda _: None
    await stage.publish(start := offer())
    await until(lambda: stage.recorder.claims)

    await advance(stage, 4.4)
    stage.recorder.answer(stage.recorder.claims[0], granted=True)

    await until(lambda: stage.recorder.returned)
    (back,) = stage.recorder.returned
    assert (ReturnReason.LATE_GRANT, start.run_id) == (back.reason, back.run_id)
    assert stage.recorder.claims[0].claim_id == back.claim_id
    await advance(stage, 0.5)
    await until(lambda: stage.in_queue() == 0)
    assert [] == stage.sandbox.started


async def test_a_slow_grant_is_followed_by_a_heartbeat_that_names_it(stage):
    """Else the first one might come when the lease, which began with the claim at the earliest, is spent."""
    stage.recorder.rule = lambda _: None
    await stage.publish(start := offer("hold"))
    await until(lambda: stage.recorder.claims)
    await advance(stage, 3.0)
    await until(lambda: stage.executor.heartbeats.wait_s > 0)
    stage.recorder.answer(stage.recorder.claims[0], granted=True)
    await until(lambda: stage.sandbox.started)

    await advance(stage, 1.0)

    await until(lambda: any(start.run_id in {key.run_id for key in b.attempts} for b in stage.recorder.heartbeats))
