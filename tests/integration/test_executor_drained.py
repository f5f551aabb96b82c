"""An executor that is told to take nothing new finishes what it has, says so, and works again when it may."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from schemas.facts import HeartbeatRecorded
from schemas.vocabulary import Outcome, ReturnReason
from tests.support.executing import Stage, offer, until


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with Stage(tmp_path) as made:
        await made.executor.start()
        yield made


def ask(stage: Stage) -> None:
    """Ask for a heartbeat, as a Dispatcher does when the rows have changed."""
    stage.recorder.tell("one", HeartbeatRecorded(tenant="default", boot_id=stage.executor.boot_id, asks=True))


async def held(stage: Stage) -> None:
    await stage.executor.desk.opened.wait()
    stage.recorder.hold = "somebody drains it"
    ask(stage)
    await until(lambda: stage.recorder.heartbeats[-1].draining)


async def test_what_runs_goes_on_and_nothing_new_is_taken(stage):
    await stage.publish(running := offer("hold"))
    await until(lambda: stage.sandbox.started)

    await held(stage)
    await stage.publish(offer())
    stage.sandbox.finish(running.run_id)

    await until(lambda: stage.recorder.finished)
    assert [(running.run_id, Outcome.SUCCEEDED)] == [(end.run_id, end.outcome) for end in stage.recorder.finished]
    await until(lambda: stage.in_queue() == 1)
    assert [running.run_id] == stage.sandbox.started
    assert {"offers": "somebody drains it"} == stage.executor.troubles()


async def test_offers_in_hand_go_back_and_a_grant_that_comes_late_is_returned(stage):
    stage.recorder.rule = lambda _: None
    await stage.publish(claimed := offer())
    await until(lambda: stage.recorder.claims)

    await held(stage)
    stage.recorder.answer(stage.recorder.claims[0], granted=True)

    await until(lambda: stage.recorder.returned)
    assert [(claimed.run_id, ReturnReason.DRAINING)] == [(b.run_id, b.reason) for b in stage.recorder.returned]
    assert [] == stage.sandbox.started


async def test_it_works_again_when_it_may(stage):
    await held(stage)
    await stage.publish(*(offers := [offer() for _ in range(20)]))
    stage.recorder.hold = None
    ask(stage)

    await until(lambda: len(stage.recorder.finished) == len(offers))
    assert not stage.recorder.heartbeats[-1].draining
    assert {} == stage.executor.troubles()


async def test_an_answer_to_an_earlier_heartbeat_changes_nothing(stage):
    await held(stage)
    known = {"tenant": "default", "boot_id": stage.executor.boot_id}
    stage.recorder.tell("one", HeartbeatRecorded(**known, seq=1), HeartbeatRecorded(**known, ends=(1,)))
    await stage.publish(offer())
    ask(stage)
    beats = len(stage.recorder.heartbeats)
    await until(lambda: len(stage.recorder.heartbeats) > beats)

    assert (1, []) == (stage.in_queue(), stage.sandbox.started)


async def test_nothing_is_taken_before_a_recorder_has_heard_of_it(tmp_path: Path):
    """Whether an executor belongs to its pool is known to the rows alone."""
    async with Stage(tmp_path) as stage:
        stage.recorder.hold = "it does not belong here"
        await stage.publish(offer())
        await stage.executor.start()
        await until(lambda: "offers" in stage.executor.troubles())
        assert (1, "it does not belong here") == (stage.in_queue(), stage.executor.troubles()["offers"])
        stage.recorder.hold = None
        ask(stage)
        await until(lambda: stage.recorder.finished)


async def test_a_held_executor_ends_in_order(stage):
    await held(stage)

    await stage.executor.drain()

    await until(lambda: stage.recorder.heartbeats[-1].stopped)
    assert stage.sandbox.closed
