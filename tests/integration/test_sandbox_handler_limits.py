"""Time limits of handlers, and those that block, swallow or hang: they harm nobody else."""

import asyncio
import threading
import time

import pytest

from scheduler.handlers import handler
from scheduler.ports import InlineStart, StopRequest
from schemas.vocabulary import Outcome
from schemas.work import TimeLimits
from tests.support.attempts import a_place, an_attempt, calling
from tests.support.handlers import ALL, entered, release

SHORT = TimeLimits(hard_s=0.3, grace_s=0.1)
SOFT = TimeLimits(soft_s=0.2, grace_s=0.1, hard_s=9)
ASKED = "asked to stop after the soft timeout of 0.2 s"
GOES_ON = ": it goes on and is left to itself"


@pytest.fixture
async def place(tmp_path):
    release.clear()
    entered.clear()
    async with a_place(tmp_path, *ALL) as opened:
        await opened.run(calling("noop"))  # the thread of async handlers is there
        yield opened
        release.set()


@pytest.mark.parametrize(
    ("name", "limits", "reason"),
    [
        ("waits", TimeLimits(soft_s=0.5, grace_s=5, hard_s=9), "asked to stop after the soft timeout of 0.5 s"),
        ("waits", SHORT, "killed after the hard timeout of 0.3 s"),
        ("sync_looks", SHORT, "killed after the hard timeout of 0.3 s"),
        ("stubborn", SHORT, f"given up after the hard timeout of 0.3 s{GOES_ON}"),
        ("sync_blocks", SHORT, f"given up after the hard timeout of 0.3 s{GOES_ON}"),
        ("blocks", SHORT, f"given up after the hard timeout of 0.3 s{GOES_ON}"),
        ("stubborn", SOFT, f"{ASKED}, given up after the grace of 0.1 s{GOES_ON}"),
        ("sync_blocks", SOFT, f"{ASKED}, given up after the grace of 0.1 s{GOES_ON}"),
    ],
)
async def test_a_handler_over_its_time_is_timed_out(place, name, limits, reason):
    ended = await place.run(calling(name, limits=limits))

    assert (ended.outcome, ended.reason) == (Outcome.TIMED_OUT, reason)
    assert place.runner.abandoned == ("left to itself" in reason)
    if name == "waits":
        assert ended.output.head.startswith("cleaned up\n")


@pytest.mark.parametrize("name", ["waits", "sync_looks"])
async def test_a_stop_request_cancels_a_handler(place, name):
    stop = StopRequest()
    running = asyncio.ensure_future(place.run(calling(name), stop))
    await place.run(calling("noop"))  # the one before has begun by now
    stop.request("cancelled by ann")

    ended = await running

    assert (ended.outcome, ended.reason) == (Outcome.CANCELLED, "cancelled by ann")


async def test_a_stop_before_the_start_counts(place):
    stop = StopRequest()
    stop.request("cancelled by ann")

    assert (await place.run(calling("waits"), stop)).outcome is Outcome.CANCELLED


async def test_a_blocked_handler_loop_harms_neither_the_runner_nor_other_handlers(place):
    """The runner's loop turns all the time, and handlers that had not begun go on in a fresh thread."""
    blocked = asyncio.ensure_future(place.run(calling("blocks", limits=TimeLimits(hard_s=3))))
    turns = asyncio.ensure_future(longest_turn())
    assert await asyncio.to_thread(entered.wait, 5)

    begun = time.monotonic()
    ends = await place.run_inline(*[calling("noop") for _ in range(50)])
    waited = time.monotonic() - begun

    assert all(ended.outcome is Outcome.SUCCEEDED for ended in ends)
    assert waited < 2.5
    assert not blocked.done()
    assert (await blocked).outcome is Outcome.TIMED_OUT
    turns.cancel()
    assert await turns < 0.3


async def longest_turn() -> float:
    longest = 0.0
    try:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            longest = max(longest, time.monotonic() - before)
    except asyncio.CancelledError:
        return longest


async def test_more_blocked_threads_than_the_pool_holds_do_not_stop_others(place):
    limits = TimeLimits(hard_s=0.2)
    place.runner._handlers._threads._limit = 2

    blocked = [asyncio.ensure_future(place.run(calling("sync_blocks", limits=limits))) for _ in range(4)]
    other = await place.run(calling("thread_name"))

    assert other.outcome is Outcome.SUCCEEDED
    assert {(await ended).outcome for ended in blocked} == {Outcome.TIMED_OUT}


async def test_as_many_sync_handlers_run_at_once_as_are_started(tmp_path):
    """Each has its slot, and its time runs: none may wait for the thread of another."""
    together = threading.Barrier(200)

    @handler("meet")
    def meet(ctx, params):
        return together.wait(15) >= 0

    async with a_place(tmp_path, meet) as place:
        ends = await asyncio.gather(*[place.run(calling("meet")) for _ in range(200)])

    assert {ended.outcome for ended in ends} == {Outcome.SUCCEEDED}


async def test_close_reports_what_it_stops(tmp_path):
    ends = []
    async with a_place(tmp_path, *ALL) as place:
        starts = [InlineStart(calling(name), an_attempt(), StopRequest()) for name in ("waits", "stubborn", "noop")]
        release.clear()
        place.runner.start_inline(starts, ends.extend)
    release.set()

    by_name = {start.order.work.name: ended.outcome for start, ended in ends}
    assert by_name["waits"] is by_name["stubborn"] is Outcome.CANCELLED
    assert len(ends) == 3
