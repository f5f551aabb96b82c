"""The clocks: real time, and time that stands still until it is told to move."""

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest

from scheduler.clock import SystemClock, VirtualClock

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_the_system_clock_is_aware_and_in_utc():
    assert SystemClock().now().utcoffset() == timedelta(0)


def test_monotonic_time_does_not_go_back():
    clock = SystemClock()
    assert clock.monotonic() <= clock.monotonic()


@pytest.mark.parametrize("seconds", [0, -1, -1e9])
async def test_a_sleep_into_the_past_returns_at_once(seconds):
    async with asyncio.timeout(1):
        await SystemClock().sleep(seconds)
        await VirtualClock(START).sleep(seconds)


def test_a_virtual_clock_needs_an_aware_start_and_speaks_utc():
    with pytest.raises(ValueError, match="aware"):
        VirtualClock(datetime(2026, 3, 1, 12))  # noqa: DTZ001
    elsewhere = START.astimezone(timezone(timedelta(hours=9)))
    assert VirtualClock(elsewhere).now().utcoffset() == timedelta(0)
    assert VirtualClock(elsewhere).now() == START


async def test_virtual_time_moves_only_when_told():
    clock = VirtualClock(START)
    sleeper = asyncio.create_task(clock.sleep(10))
    await asyncio.sleep(0)

    await clock.advance(timedelta(seconds=9.5))
    assert (clock.sleepers, sleeper.done(), clock.now()) == (1, False, START + timedelta(seconds=9.5))

    await clock.advance(timedelta(seconds=0.5))
    assert (clock.sleepers, sleeper.done(), clock.monotonic()) == (0, True, 10.0)


async def test_sleepers_wake_in_order_each_at_its_own_instant():
    clock = VirtualClock(START)
    woken = []

    async def sleep_twice(first: float, second: float) -> None:
        for seconds in (first, second):
            await clock.sleep(seconds)
            woken.append((clock.now() - START).total_seconds())

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(sleep_twice(1, 3))
        tasks.create_task(sleep_twice(2, 1))
        await asyncio.sleep(0)
        await clock.advance(timedelta(seconds=10))

    assert woken == [1, 2, 3, 4]
    assert clock.now() == START + timedelta(seconds=10)


async def test_a_cancelled_sleeper_does_not_hold_up_time():
    clock = VirtualClock(START)
    sleeper = asyncio.create_task(clock.sleep(1))
    await asyncio.sleep(0)
    sleeper.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sleeper

    assert clock.sleepers == 0
    await clock.advance(timedelta(seconds=2))
    assert clock.monotonic() == 2


async def test_a_jump_moves_the_wall_clock_and_wakes_nobody():
    clock = VirtualClock(START)
    sleeper = asyncio.create_task(clock.sleep(1))
    await asyncio.sleep(0)

    clock.jump(START - timedelta(days=1))

    assert (clock.now(), clock.monotonic(), sleeper.done()) == (START - timedelta(days=1), 0, False)
    await clock.advance(timedelta(seconds=1))
    assert sleeper.done()
    assert clock.now() == START - timedelta(days=1) + timedelta(seconds=1)
