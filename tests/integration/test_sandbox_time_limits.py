"""Timeouts and stop requests of child processes: asked, killed, and always ended."""

import asyncio

import pytest

from scheduler.ports import Ended, StopRequest
from schemas.vocabulary import Outcome
from schemas.work import TimeLimits, WorkOrder
from tests.support.attempts import Place, a_place, alive, an_attempt, command, pid_in, python, seen, shell

JOBS = """
import asyncio, os, time
def begins():
    print("begun", flush=True)
    open(os.path.join(os.path.dirname(__file__), "begun"), "w").close()
async def waits():
    try: begins(); await asyncio.sleep(60)
    finally: print("cleaned up", flush=True)
async def swallows():
    begins()
    while True:
        try: await asyncio.sleep(60)
        except asyncio.CancelledError: pass
def blocks():
    try: begins(); time.sleep(60)
    finally: print("cleaned up", flush=True)
"""
SOFT_S = (1.0, 8.0)
"""A soft timeout, and one for a machine on which a job has not begun by then."""


@pytest.fixture
async def place(tmp_path):
    async with a_place(tmp_path) as opened:
        (opened.code_dir / "jobs.py").write_text(JOBS)
        yield opened


async def run_over_its_soft_time(place: Place, order: WorkOrder, grace_s: float) -> tuple[Ended, float]:
    """Return how a job ended that had begun when its soft timeout came, and that timeout.

    It begins when it has made the file ``begun`` in the code directory: from then on it can hear that it is asked.
    """
    begun = place.code_dir / "begun"
    for soft_s in SOFT_S:
        limits = TimeLimits(soft_s=soft_s, grace_s=grace_s, hard_s=18)
        ended = await place.run(order.model_copy(update={"limits": limits}))
        if begun.exists():
            return ended, soft_s
    raise AssertionError(f"it had not begun after {SOFT_S[-1]} s: {ended}")


@pytest.mark.parametrize(
    "order",
    [
        python("jobs:waits"),
        python("jobs:blocks"),
        shell("trap 'echo cleaned up; exit 0' TERM; echo begun; touch begun; while :; do sleep 0.05; done", cwd="."),
    ],
)
async def test_a_soft_timeout_asks_and_lets_clean_up(place, order):
    ended, soft_s = await run_over_its_soft_time(place, order, 5)

    assert ended.outcome is Outcome.TIMED_OUT
    assert ended.reason == f"asked to stop after the soft timeout of {soft_s:g} s"
    assert ended.output.head.startswith("begun\n")
    assert "cleaned up\n" in ended.output.head
    assert ended.signal is None


@pytest.mark.parametrize(
    "order", [shell("trap '' TERM; touch begun; sleep 30; sleep 30", cwd="."), python("jobs:swallows")]
)
async def test_who_ignores_the_asking_is_killed_after_the_grace_and_both_are_said(place, order):
    ended, soft_s = await run_over_its_soft_time(place, order, 0.2)

    assert (ended.outcome, ended.signal) == (Outcome.TIMED_OUT, 9)
    assert ended.reason == f"asked to stop after the soft timeout of {soft_s:g} s, killed after the grace of 0.2 s"


async def test_who_ignores_a_cancel_is_killed_and_both_are_said(place):
    stop = StopRequest()
    text = "trap '' TERM; touch begun; sleep 30; sleep 30"
    order = shell(text, cwd=str(place.code_dir), limits=TimeLimits(grace_s=0.2))
    running = asyncio.ensure_future(place.run(order, stop))
    await seen(place.code_dir / "begun")
    stop.request("cancelled by ann")

    ended = await running

    assert (ended.outcome, ended.signal) == (Outcome.CANCELLED, 9)
    assert ended.reason == "cancelled by ann, killed after the grace of 0.2 s"


async def test_what_stays_behind_after_the_asking_is_counted(place):
    order = shell("(trap '' TERM; touch begun; sleep 30; sleep 30) & sleep 30", cwd=".")

    ended, soft_s = await run_over_its_soft_time(place, order, 5)

    assert (ended.outcome, ended.signal) == (Outcome.TIMED_OUT, 15)
    assert ended.reason.startswith(f"asked to stop after the soft timeout of {soft_s:g} s; processes it left behind")


async def test_a_hard_timeout_kills_at_once(place):
    ended = await place.run(command("sleep", "30", limits=TimeLimits(hard_s=0.1, grace_s=30)))

    assert (ended.outcome, ended.signal, ended.reason) == (
        Outcome.TIMED_OUT,
        9,
        "killed after the hard timeout of 0.1 s",
    )


async def test_a_stop_request_is_a_cancel(place):
    stop = StopRequest()
    running = asyncio.ensure_future(place.run(shell("touch begun; exec sleep 30", cwd=str(place.code_dir)), stop))
    await seen(place.code_dir / "begun")
    stop.request("cancelled by ann")

    ended = await running

    assert (ended.outcome, ended.signal, ended.reason) == (Outcome.CANCELLED, 15, "cancelled by ann")


async def test_a_stop_at_once_spares_no_grace(place):
    stop = StopRequest()
    order = shell(
        "trap '' TERM; touch begun; sleep 30; sleep 30", cwd=str(place.code_dir), limits=TimeLimits(grace_s=60)
    )
    running = asyncio.ensure_future(place.run(order, stop))
    await seen(place.code_dir / "begun")
    stop.request("cancelled by ann")
    stop.request("the lease is lost", at_once=True)

    ended = await running

    assert (ended.outcome, ended.signal) == (Outcome.CANCELLED, 9)


async def test_a_request_made_before_the_start_counts(place):
    stop = StopRequest()
    stop.request("cancelled by ann")

    ended = await place.run(command("sleep", "30"), stop)

    assert ended.outcome is Outcome.CANCELLED


async def test_close_kills_what_is_left(tmp_path):
    async with a_place(tmp_path) as place:
        running = asyncio.ensure_future(place.run(shell("touch begun; sleep 30; sleep 30", cwd=str(place.code_dir))))
        await seen(place.code_dir / "begun")
    ended = await running

    assert (ended.outcome, ended.reason) == (Outcome.CANCELLED, "the executor stops")


async def test_cancelling_the_call_kills_the_job_first(place):
    order = shell("echo $$ > pid; trap '' TERM; sleep 30; sleep 30", cwd=str(place.code_dir))
    running = asyncio.ensure_future(place.runner.run(order, an_attempt(), StopRequest()))
    pid = await pid_in(place.code_dir / "pid")
    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await running

    assert not alive(pid)
