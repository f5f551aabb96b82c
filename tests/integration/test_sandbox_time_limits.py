"""Timeouts and stop requests of child processes: asked, killed, and always ended."""

import asyncio

import pytest

from scheduler.ports import StopRequest
from schemas.vocabulary import Outcome
from schemas.work import TimeLimits
from tests.support.attempts import a_place, alive, an_attempt, command, pid_in, python, seen, shell

JOBS = """
import asyncio, time
async def waits():
    print("begun", flush=True)
    try: await asyncio.sleep(60)
    finally: print("cleaned up", flush=True)
async def swallows():
    while True:
        try: await asyncio.sleep(60)
        except asyncio.CancelledError: pass
def blocks():
    print("begun", flush=True)
    try: time.sleep(60)
    finally: print("cleaned up", flush=True)
"""


@pytest.fixture
async def place(tmp_path):
    async with a_place(tmp_path) as opened:
        (opened.code_dir / "jobs.py").write_text(JOBS)
        yield opened


@pytest.mark.parametrize(
    "order",
    [
        python("jobs:waits"),
        python("jobs:blocks"),
        shell("trap 'echo cleaned up; exit 0' TERM; echo begun; while :; do sleep 0.05; done"),
    ],
)
async def test_a_soft_timeout_asks_and_lets_clean_up(place, order):
    limits = TimeLimits(soft_s=1.0, grace_s=5, hard_s=20)

    ended = await place.run(order.model_copy(update={"limits": limits}))

    assert ended.outcome is Outcome.TIMED_OUT
    assert ended.reason == "asked to stop after the soft timeout of 1 s"
    assert ended.output.head.startswith("begun\n")
    assert "cleaned up\n" in ended.output.head
    assert ended.signal is None


@pytest.mark.parametrize("order", [shell("trap '' TERM; sleep 30; sleep 30"), python("jobs:swallows")])
async def test_who_ignores_the_asking_is_killed_after_the_grace_and_both_are_said(place, order):
    limits = TimeLimits(soft_s=1.0, grace_s=0.2, hard_s=20)

    ended = await place.run(order.model_copy(update={"limits": limits}))

    assert (ended.outcome, ended.signal) == (Outcome.TIMED_OUT, 9)
    assert ended.reason == "asked to stop after the soft timeout of 1 s, killed after the grace of 0.2 s"


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
    order = shell("(trap '' TERM; sleep 30; sleep 30) & sleep 30", limits=TimeLimits(soft_s=0.5, grace_s=5, hard_s=20))

    ended = await place.run(order)

    assert (ended.outcome, ended.signal) == (Outcome.TIMED_OUT, 15)
    assert ended.reason.startswith("asked to stop after the soft timeout of 0.5 s; processes it left behind")


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
