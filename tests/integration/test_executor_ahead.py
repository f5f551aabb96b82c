"""What an executor does with an attempt that is granted a moment before its instant."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from scheduler.clock import VirtualClock
from schemas.commands import CancelAttempt
from schemas.vocabulary import Outcome
from tests.support.executing import Stage, noon, offer, until


@pytest.fixture
async def slow(tmp_path: Path) -> AsyncIterator[Stage]:
    """A stage whose executor's time moves only when the test moves it."""
    async with Stage(tmp_path, clock=VirtualClock(noon())) as made:
        await made.executor.start()
        yield made


async def advance(stage: Stage, seconds: float) -> None:
    assert isinstance(stage.clock, VirtualClock)
    await stage.clock.advance(timedelta(seconds=seconds))


@pytest.mark.parametrize("kind", ["noop", "child"])
async def test_what_is_granted_ahead_starts_at_its_instant(slow, kind):
    instant = noon() + timedelta(milliseconds=20)
    await slow.publish(start := offer(kind, starts_at=instant))
    await until(lambda: len(slow.executor.running))
    await advance(slow, 0.019)
    assert [] == slow.sandbox.started

    await advance(slow, 0.001)
    await until(lambda: slow.sandbox.started)
    slow.sandbox.finish(start.run_id)
    await until(lambda: slow.recorder.finished)
    assert (instant, 0.0) == (slow.recorder.finished[0].started_at, slow.recorder.finished[0].elapsed_s)


@pytest.mark.parametrize("kind", ["hold", "child"])
async def test_what_is_granted_ahead_can_be_cancelled_before_its_instant(slow, kind):
    await slow.publish(start := offer(kind, starts_at=noon() + timedelta(milliseconds=20)))
    await until(lambda: len(slow.executor.running))
    run = slow.executor.running.all()[0]
    slow.recorder.tell(
        "one", CancelAttempt(tenant="default", run_id=start.run_id, attempt=1, lease_token=start.lease_token)
    )
    await until(lambda: run.stop.reason)

    await advance(slow, 0.02)
    await until(lambda: slow.recorder.finished)
    assert Outcome.CANCELLED is slow.recorder.finished[0].outcome


async def test_an_instant_by_a_clock_far_ahead_is_not_waited_for(slow):
    await slow.publish(offer(starts_at=noon() + timedelta(days=1)))
    await until(lambda: len(slow.executor.running))
    await advance(slow, 0.1)
    await until(lambda: slow.recorder.finished)


async def test_what_waits_for_its_instant_when_the_executor_stops_is_lost(slow):
    await slow.publish(offer("hold", starts_at=noon() + timedelta(milliseconds=20)))
    await until(lambda: len(slow.executor.running))
    await slow.executor.stop()
    await until(lambda: slow.recorder.finished)
    assert (Outcome.LOST, []) == (slow.recorder.finished[0].outcome, slow.sandbox.started)
