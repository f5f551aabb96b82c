"""The life of an executor: heartbeats, its spool over restarts, drain and stop."""

import asyncio
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from scheduler.clock import SystemClock, VirtualClock
from scheduler.errors import ConfigurationError
from scheduler.sandbox.handlers import HandlerRegistry, handler
from scheduler.sandbox.runner import NetworkPolicy, Runner
from schemas.vocabulary import Outcome, ReturnReason
from schemas.work import CommandWork
from tests.support.executing import PlayedSandbox, Stage, noon, offer, until


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with Stage(tmp_path) as made:
        await made.executor.start()
        yield made


@pytest.fixture
async def slow(tmp_path: Path) -> AsyncIterator[Stage]:
    async with Stage(tmp_path, clock=VirtualClock(noon())) as made:
        await made.executor.start()
        yield made


async def advance(stage: Stage, seconds: float) -> None:
    assert isinstance(stage.clock, VirtualClock)
    await stage.clock.advance(timedelta(seconds=seconds))


async def test_the_first_heartbeat_is_at_once_and_says_who_lives(stage):
    await until(lambda: stage.recorder.heartbeats)
    beat = stage.recorder.heartbeats[0]
    assert ("one", 1, 2, ("hold", "noop")) == (beat.executor, beat.seq, beat.slots, beat.handlers)
    assert () == beat.attempts


async def test_heartbeats_come_three_times_a_lease_with_all_that_runs(slow):
    await until(lambda: slow.recorder.heartbeats)
    slow.recorder.lease_s = 6.0
    await slow.publish(start := offer("hold"))
    await until(lambda: slow.sandbox.started)
    await advance(slow, 2)
    await until(lambda: len(slow.recorder.heartbeats) == 2)
    for expected in (3, 4, 5):
        await advance(slow, 2)
        await until(lambda expected=expected: len(slow.recorder.heartbeats) == expected)
    beat = slow.recorder.heartbeats[-1]
    assert [start.run_id] == [key.run_id for key in beat.attempts]
    assert 1 == beat.busy


async def test_unanswered_heartbeats_make_the_executor_unready_and_kill_nothing(slow):
    await slow.publish(start := offer("hold"))
    await until(lambda: slow.sandbox.started)
    await slow.recorder.close()
    await advance(slow, 120)
    assert "heartbeat" in slow.executor.troubles()
    assert slow.sandbox.stops[start.run_id].reason is None


async def test_a_sandbox_that_raises_fails_the_attempt_and_heartbeats_go_on(slow):
    def broken(starts, on_done):
        raise RuntimeError("out of threads")

    slow.sandbox.start_inline = broken
    await slow.publish(offer("hold"))
    await until(lambda: slow.recorder.finished)
    assert Outcome.FAILED is slow.recorder.finished[0].outcome
    assert "out of threads" in (slow.recorder.finished[0].reason or "")
    beats = len(slow.recorder.heartbeats)
    await advance(slow, 11)
    await until(lambda: len(slow.recorder.heartbeats) > beats)
    assert stage_is_free(slow)


def stage_is_free(stage: Stage) -> bool:
    return stage.executor.desk.free == stage.slots


async def test_an_end_that_is_not_named_is_said_again_and_by_the_next_boot(slow):
    slow.recorder.naming = False
    await slow.publish(start := offer())
    await until(lambda: len(slow.recorder.finished) == 1)
    await advance(slow, 11)
    await until(lambda: len(slow.recorder.finished) == 2)
    await slow.executor.stop()

    slow.recorder.naming = True
    slow.sandbox = PlayedSandbox()
    slow.executor = slow.new_executor()
    await slow.executor.start()
    await until(lambda: len(slow.recorder.finished) == 3)
    ends = slow.recorder.finished
    assert {start.run_id} == {end.run_id for end in ends}
    assert 1 == len({end.claim_id for end in ends})
    assert ends[0].boot_id != ends[2].boot_id == slow.executor.boot_id
    await until(lambda: not slow.executor.ends)


async def test_two_executors_do_not_share_a_state_directory(stage):
    other = stage.new_executor("two")
    with pytest.raises(ConfigurationError, match="in use"):
        await other.start()
    await other.stop()


async def test_drain_lets_run_what_runs_and_returns_what_does_not(slow):
    await slow.publish(*(starts := [offer("hold") for _ in range(3)]))
    await until(lambda: len(slow.sandbox.started) == 2)
    draining = asyncio.create_task(slow.executor.drain())
    await until(lambda: slow.recorder.returned)
    assert (starts[2].run_id, ReturnReason.DRAINING) == (
        slow.recorder.returned[0].run_id,
        slow.recorder.returned[0].reason,
    )
    await slow.publish(offer())
    for start in starts[:2]:
        slow.sandbox.finish(start.run_id)
    await draining
    await until(lambda: len(slow.recorder.finished) == 2)
    await until(lambda: slow.recorder.heartbeats[-1].stopped)
    assert {Outcome.SUCCEEDED} == {end.outcome for end in slow.recorder.finished}
    assert (1, True) == (slow.in_queue(), slow.sandbox.closed)


async def test_drain_releases_offers_that_were_not_claimed(slow):
    await slow.publish(*[offer("hold") for _ in range(2)])
    await until(lambda: len(slow.sandbox.started) == 2)
    await slow.publish(offer())
    await until(lambda: slow.executor.desk.window._oldest is not None)
    draining = asyncio.create_task(slow.executor.drain())
    await until(lambda: slow.executor.desk.closed)
    for run_id in slow.sandbox.started:
        slow.sandbox.finish(run_id)
    await draining
    assert 1 == slow.in_queue()
    assert [] == slow.recorder.returned


async def test_a_grant_that_comes_while_draining_is_returned(stage):
    stage.recorder.rule = lambda _: None
    await stage.publish(offer())
    await until(lambda: stage.recorder.claims)
    draining = asyncio.create_task(stage.executor.drain())
    await until(lambda: stage.executor.desk.closed)
    stage.recorder.answer(stage.recorder.claims[0], granted=True)
    await draining
    await until(lambda: stage.recorder.returned)
    assert (ReturnReason.DRAINING, stage.recorder.claims[0].claim_id) == (
        stage.recorder.returned[0].reason,
        stage.recorder.returned[0].claim_id,
    )
    assert ([], 0) == (stage.sandbox.started, stage.in_queue())


@pytest.mark.parametrize("kind", ["hold", "child"])
async def test_what_outlives_the_drain_timeout_is_killed_and_lost(slow, kind):
    await slow.publish(start := offer(kind))
    await until(lambda: slow.sandbox.started)
    draining = asyncio.create_task(slow.executor.drain())
    await until(lambda: slow.executor.desk.closed)
    await advance(slow, 6)
    await draining
    await until(lambda: slow.recorder.finished)
    assert (Outcome.LOST, "the executor was stopped") == (
        slow.recorder.finished[0].outcome,
        slow.recorder.finished[0].reason,
    )
    assert slow.sandbox.stops[start.run_id].at_once


@pytest.mark.parametrize("kind", ["hold", "child"])
async def test_stop_kills_at_once_and_keeps_the_end(stage, kind):
    stage.recorder.naming = False
    await stage.publish(offer(kind))
    await until(lambda: stage.sandbox.started)
    await stage.executor.stop()
    await until(lambda: stage.recorder.finished)
    assert Outcome.LOST is stage.recorder.finished[0].outcome
    assert 1 == (stage.folder / "ends.jsonl").read_bytes().count(b"\n")


@pytest.mark.parametrize("end", ["drain", "stop"])
async def test_ending_twice_or_unstarted_is_no_error(stage, end):
    unstarted = stage.new_executor("two")
    await getattr(unstarted, end)()
    await getattr(stage.executor, end)()
    await getattr(stage.executor, end)()


@handler("quick")
async def quick(ctx, params) -> int:
    return 42


async def test_real_work_runs_in_the_real_sandbox(tmp_path):
    registry = HandlerRegistry()
    registry.add(quick)
    async with Stage(tmp_path / "state") as stage:
        stage.sandbox = Runner(
            code_dir=tmp_path,
            run_dir=tmp_path / "runs",
            handlers=registry,
            network=NetworkPolicy(),
            clock=SystemClock(),
        )
        stage.executor = stage.new_executor()
        await stage.executor.start()
        child = offer("child")
        work = CommandWork(kind="command", argv=(sys.executable, "-c", "print('here'); raise SystemExit(3)"))
        child = child.model_copy(update={"order": child.order.model_copy(update={"work": work})})
        await stage.publish(offer("quick"), child)
        await until(lambda: len(stage.recorder.finished) == 2)
        ends = {end.run_id: end for end in stage.recorder.finished}
        told = ends.pop(child.run_id)
        assert (Outcome.FAILED, 3, "here\n") == (told.outcome, told.exit_code, told.output and told.output.head)
        assert [(Outcome.SUCCEEDED, 42)] == [(end.outcome, end.result) for end in ends.values()]
