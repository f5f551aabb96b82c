"""What attempts demand together is never more than their executor has; who waits for room, and for how long."""

import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from actors.executing.settings import ExecutorSettings
from scheduler.clock import VirtualClock
from schemas.commands import StartAttempt
from schemas.vocabulary import ReturnReason
from schemas.work import ResourceLimits
from tests.support.executing import Stage, noon, offer, until

GIB = 1024**3


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """A stage with room for 2 cores, 1 GiB of memory and of disk, whose executor's time the test moves."""
    async with Stage(tmp_path, clock=VirtualClock(noon()), slots=4, disk_bytes=GIB) as made:
        await made.executor.start()
        yield made


def demanding(**resources: float | str) -> StartAttempt:
    start = offer("hold")
    order = start.order.model_copy(update={"resources": ResourceLimits(**resources)})
    return start.model_copy(update={"order": order})


async def test_attempts_that_do_not_fit_together_run_one_after_another(stage):
    first, second, third = (demanding(cpu=1.5), demanding(cpu=0.6), demanding(cpu=0.4, memory_bytes=GIB))
    await stage.publish(first, second, third, last := offer("hold"))
    await until(lambda: len(stage.sandbox.started) == 2)

    assert [first.run_id, last.run_id] == stage.sandbox.started  # the third would fit, and does not go past the second
    stage.sandbox.finish(first.run_id)

    await until(lambda: len(stage.sandbox.started) == 4)
    assert [second.run_id, third.run_id] == stage.sandbox.started[2:]
    assert [] == stage.recorder.returned


async def test_space_on_the_disk_is_reserved_too(stage):
    first, second = demanding(disk_bytes=GIB), demanding(disk_bytes=1)
    await stage.publish(first, second, last := offer("hold"))
    await until(lambda: len(stage.sandbox.started) == 2)

    assert [first.run_id, last.run_id] == stage.sandbox.started
    stage.sandbox.finish(first.run_id)

    await until(lambda: second.run_id in stage.sandbox.started)


async def test_the_disk_is_shared_by_as_many_as_the_operator_says(tmp_path):
    async with Stage(tmp_path, clock=VirtualClock(noon()), slots=8, io=1.5) as stage:
        await stage.executor.start()
        normal, low, second = demanding(io="normal"), demanding(io="low"), demanding(io="low")
        idle, free = demanding(io="idle"), offer("hold")
        await stage.publish(normal, low, idle, free, second)
        await until(lambda: len(stage.sandbox.started) == 4)

        assert [normal.run_id, low.run_id, idle.run_id, free.run_id] == stage.sandbox.started
        stage.sandbox.finish(low.run_id)
        await until(lambda: second.run_id in stage.sandbox.started)


async def test_without_a_word_of_the_operator_as_many_as_there_are_use_the_disk(stage):
    wanted = [demanding(io="normal") for _ in range(4)]
    await stage.publish(*wanted)

    await until(lambda: len(stage.sandbox.started) == 4)


def test_without_a_flag_what_is_free_on_the_disk_is_shared(tmp_path):
    settings = ExecutorSettings("one", "default", tmp_path / "not" / "there")

    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    assert settings.disk_bytes == pytest.approx(free, rel=0.2)


async def test_memory_that_is_claimed_and_not_granted_yet_is_taken(stage):
    stage.recorder.rule = lambda _: None
    await stage.publish(demanding(memory_bytes=GIB), demanding(memory_bytes=1))
    await until(lambda: stage.recorder.claims)
    await stage.publish(offer("hold"))
    await until(lambda: len(stage.recorder.claims) == 2)

    stage.recorder.rule = lambda _: True
    stage.recorder.answer(stage.recorder.claims[0], granted=False)

    await until(lambda: len(stage.recorder.claims) == 3)


@pytest.mark.parametrize("resources", [{"cpu": 2.01}, {"memory_bytes": GIB + 1}, {"disk_bytes": GIB + 1}])
async def test_what_would_never_fit_is_handed_back_and_holds_up_nobody(stage, resources):
    large = demanding(**resources)
    await stage.publish(large, small := demanding(cpu=2.0, memory_bytes=GIB))

    await until(lambda: stage.recorder.returned and stage.sandbox.started)

    assert [(ReturnReason.NO_ROOM, large.run_id)] == [(back.reason, back.run_id) for back in stage.recorder.returned]
    assert [small.run_id] == stage.sandbox.started


async def test_who_finds_no_room_in_ten_seconds_is_handed_back_for_others(stage):
    await stage.publish(demanding(cpu=2.0), waiting := demanding(cpu=0.1))
    await until(lambda: stage.sandbox.started)
    await stage.clock.advance(timedelta(seconds=9))
    assert [] == stage.recorder.returned

    await stage.clock.advance(timedelta(seconds=2))

    await until(lambda: stage.recorder.returned)
    assert (ReturnReason.NO_ROOM, waiting.run_id) == (
        stage.recorder.returned[0].reason, stage.recorder.returned[0].run_id)  # fmt: skip
    await until(lambda: stage.in_queue() == 0)


async def test_large_demand_that_came_back_often_is_given_what_gets_free_before_small_ones(stage):
    """Small ones that overlap would else leave no moment in which all of the room is free."""
    smalls = [demanding(cpu=1.0) for _ in range(2)]
    await stage.publish(*smalls)
    await until(lambda: len(stage.sandbox.started) == 2)
    large = demanding(cpu=2.0).model_copy(update={"patient": True})
    await stage.publish(waiting := demanding(cpu=1.0), large)
    await until(lambda: stage.executor.desk.window._oldest is None)

    for seconds in (9, 40):  # longer than others may wait
        await stage.clock.advance(timedelta(seconds=seconds))
        await stage.publish(late := demanding(cpu=1.0))
        stage.sandbox.finish(smalls.pop().run_id)
        await until(lambda late=late: stage.executor.desk.window._oldest is None)
        if smalls:
            assert {waiting.run_id, large.run_id, late.run_id}.isdisjoint(stage.sandbox.started)

    await until(lambda: large.run_id in stage.sandbox.started)
    assert large.run_id == stage.sandbox.started[2]
    assert [] == [back for back in stage.recorder.returned if back.run_id == large.run_id]


async def test_room_is_kept_for_five_minutes_at_most(stage):
    await stage.publish(demanding(cpu=2.0))
    await until(lambda: stage.sandbox.started)
    await stage.publish(large := demanding(cpu=1.5).model_copy(update={"patient": True}))
    await until(lambda: stage.executor.desk._room.aside)
    await stage.clock.advance(timedelta(seconds=290))
    assert [] == stage.recorder.returned

    await stage.clock.advance(timedelta(seconds=11))

    await until(lambda: stage.recorder.returned)
    assert [(ReturnReason.NO_ROOM, large.run_id)] == [(back.reason, back.run_id) for back in stage.recorder.returned]


async def test_an_executor_that_drains_hands_back_who_waits_for_room(stage):
    await stage.publish(running := demanding(cpu=2.0), waiting := demanding(cpu=0.1))
    await until(lambda: stage.sandbox.started)

    await stage.executor.desk.close()
    stage.sandbox.finish(running.run_id)

    await until(lambda: stage.recorder.returned)
    assert [(ReturnReason.DRAINING, waiting.run_id)] == [(each.reason, each.run_id) for each in stage.recorder.returned]


async def test_heartbeats_tell_how_much_room_there_is(stage):
    await until(lambda: stage.recorder.heartbeats)

    beat = stage.recorder.heartbeats[0]
    assert (2.0, GIB, GIB) == (beat.cpu, beat.memory_bytes, beat.disk_bytes)
