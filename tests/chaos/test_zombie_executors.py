"""Executors that stand still, or that nobody hears, for longer than a lease: one recorded end for each attempt."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support.attempts import alive, is_gone
from tests.support.chaos import Stage
from tests.support.chaos_work import Work, make_work, soon, writes

LEASE = "5s"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def held(tenant: str, stage: Stage, gate: Path, **policies: str) -> Work:
    """Return jobs that run until the gate is there, each with its ``on_lost_contact``."""
    begins = soon(0.3)
    run, at = writes(stage.ledger, f"until={gate}"), [{"at": begins.isoformat()}]
    jobs = {name: {"run": run, "on_lost_contact": policy, "triggers": at} for name, policy in policies.items()}
    return make_work(tenant, jobs, {name: [begins] for name in jobs})


async def started(stage: Stage, work: Work, job: str, attempt: int) -> int:
    """Wait until that attempt of the job has started; return the process id."""
    wanted = (job, attempt)
    found = await stage.told(lambda entries: any(wanted == (e.job, e.attempt) for e in entries), work)
    return next(entry.pid for entry in found if wanted == (entry.job, entry.attempt))


def shown(stage: Stage, work: Work, job: str) -> dict[str, Any]:
    """Return what ``run show`` tells of the one run of the job."""
    (run,) = json.loads(stage.command("--tenant", work.tenant, "runs", "--job", job, "--json"))["runs"]
    found: dict[str, Any] = json.loads(stage.command("--tenant", work.tenant, "run", "show", run["id"], "--json"))
    return found


async def test_zombie_kills_what_it_lost_when_it_wakes_and_its_late_end_changes_nothing(
    stage: Stage, tmp_path: Path
) -> None:
    work = held("zombie", stage, tmp_path / "gate", fenced="kill")
    zombie = stage.only("executor")
    await stage.apply(work)
    job = await started(stage, work, "fenced", 1)

    zombie.signal(signal.SIGSTOP)
    stage.start("executor")
    successor = await started(stage, work, "fenced", 2)
    zombie.signal(signal.SIGCONT)
    await is_gone(job)
    assert alive(successor)
    late = "SELECT late_end ->> 'reason' FROM scheduler.attempts WHERE tenant = $1 AND attempt = 1"
    assert "killed by its executor" in await stage.until(late, work.tenant)
    assert zombie.says("attempts.fenced")
    (tmp_path / "gate").touch()

    await stage.settled(work)
    await stage.check(work, losses=True)
    first, second = shown(stage, work, "fenced")["attempts"]
    assert ("lost", "succeeded") == (first["outcome"], second["outcome"])
    assert "not heard of until the lease ended" in first["reason"]
    assert "killed by its executor" in first["late_end"]["reason"]
    assert [(1, "start"), (2, "start"), (2, "finish")] == [(e.attempt, e.event) for e in stage.entries(work)]
    printed = stage.command("--tenant", work.tenant, "run", "show", shown(stage, work, "fenced")["id"])
    assert "too late, its executor said: lost, killed by its executor" in printed.replace("\n", " ")
    await zombie.drain()


async def test_executor_that_no_recorder_hears_kills_one_job_and_lets_the_other_go_on(
    stage: Stage, tmp_path: Path
) -> None:
    """The killed one is gone before its next attempt starts; the other one needs a single attempt."""
    work = held("unheard", stage, tmp_path / "gate", fenced="kill", patient="continue")
    await stage.apply(work)
    fenced = await started(stage, work, "fenced", 1)
    patient = await started(stage, work, "patient", 1)

    stage.only("recorder").signal(signal.SIGSTOP)
    await is_gone(fenced)
    assert alive(patient)
    assert [] == [entry for entry in stage.entries(work) if entry.attempt == 2]
    stage.only("recorder").signal(signal.SIGCONT)
    await started(stage, work, "fenced", 2)
    (tmp_path / "gate").touch()

    await stage.settled(work)
    await stage.check(work, losses=True)
    first, second = shown(stage, work, "fenced")["attempts"]
    assert ("lost", "succeeded") == (first["outcome"], second["outcome"])
    assert "no heartbeat was recorded for" in first["reason"]
    assert ["succeeded"] == [attempt["outcome"] for attempt in shown(stage, work, "patient")["attempts"]]
