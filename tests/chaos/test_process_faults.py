"""Processes die or stand still at any moment, not only at named points."""

import asyncio
import signal
from pathlib import Path

import pytest

from tests.support.attempts import alive, is_gone
from tests.support.chaos import ACTORS, Stage
from tests.support.chaos_work import Work, make_work, mixed, soon, writes

LEASE = "5s"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def held(tenant: str, stage: Stage, gate: Path) -> Work:
    """Return a job that runs until the gate is there."""
    begins = soon(0.3)
    job = {"run": writes(stage.ledger, f"until={gate}"), "triggers": [{"at": begins.isoformat()}]}
    return make_work(tenant, {"held": job}, {"held": [begins]})


async def starts(stage: Stage, work: Work, attempt: int) -> int:
    """Wait until that attempt of the one run has started; return the process id of its job."""
    found = await stage.told(lambda entries: any(entry.attempt == attempt for entry in entries), work)
    return next(entry.pid for entry in found if entry.attempt == attempt)


async def test_jobs_die_with_their_executor_and_attempt_2_follows(stage: Stage, tmp_path: Path) -> None:
    work = held("killed", stage, tmp_path / "gate")
    await stage.apply(work)
    job = await starts(stage, work, 1)

    stage.only("executor").kill9()
    await is_gone(job)
    stage.start("executor")
    await starts(stage, work, 2)
    (tmp_path / "gate").touch()

    await stage.settled(work)
    await stage.check(work, losses=True)
    assert [(1, "start"), (2, "start"), (2, "finish")] == [(e.attempt, e.event) for e in stage.entries(work)]


async def test_executor_that_stood_still_beyond_its_lease_is_heard_and_changes_nothing(
    stage: Stage, tmp_path: Path
) -> None:
    work = held("stood-still", stage, tmp_path / "gate")
    sleeper = stage.only("executor")
    await stage.apply(work)
    await starts(stage, work, 1)

    sleeper.signal(signal.SIGSTOP)
    stage.start("executor")
    await starts(stage, work, 2)
    (tmp_path / "gate").touch()
    await stage.told(lambda entries: len(entries) == 4, work)
    await stage.settled(work)
    sleeper.signal(signal.SIGCONT)

    late = "SELECT late_end ->> 'outcome' FROM scheduler.attempts WHERE tenant = $1 AND attempt = 1"
    assert "succeeded" == await stage.until(late, work.tenant)
    await stage.check(work, losses=True)
    await sleeper.drain()


async def test_executor_that_wakes_up_kills_what_it_lost_meanwhile(stage: Stage, tmp_path: Path) -> None:
    work = held("woke-up", stage, tmp_path / "gate")
    sleeper = stage.only("executor")
    await stage.apply(work)
    job = await starts(stage, work, 1)

    sleeper.signal(signal.SIGSTOP)
    stage.start("executor")
    successor = await starts(stage, work, 2)
    sleeper.signal(signal.SIGCONT)
    await is_gone(job)
    assert alive(successor)
    (tmp_path / "gate").touch()

    await stage.settled(work)
    await stage.check(work, losses=True)
    await sleeper.drain()


async def test_two_of_each_actor_and_one_of_each_killed_under_load(stage: Stage) -> None:
    first = {kind: stage.only(kind) for kind in ACTORS}
    second = [stage.start(kind) for kind in ACTORS]
    await asyncio.gather(*(actor.works() for actor in second))
    work = mixed("two-of-each", stage.ledger, soon(), pulses=8)
    await stage.apply(work)

    for number, kind in enumerate(ACTORS, start=1):
        await stage.told(lambda entries, wanted=4 * number: len(entries) >= wanted, work)
        first[kind].kill9()

    await stage.settled(work)
    await stage.check(work, losses=True)
