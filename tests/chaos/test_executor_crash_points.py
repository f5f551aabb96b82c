"""An Executor kills itself at a crash point, or a Recorder does while it ends the lease of one that died."""

from pathlib import Path

import pytest

from tests.support.chaos import Stage
from tests.support.chaos_work import make_work, soon, writes

LEASE = "3s"
POINTS = (
    "executor.before_claim_sent",
    "publisher.after_write@attempt.claim",
    "executor.after_grant",
    "executor.after_start",
    "executor.after_run",
    "executor.before_finished_sent",
    "publisher.after_write@attempt.finished",
    "executor.after_finished_confirmed",
)
EXPIRY = ("recorder.before_expiry_commit", "recorder.after_expiry_commit")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.mark.parametrize("point", POINTS)
async def test_nothing_is_lost_or_doubled_by_a_crash_at(point: str, stage: Stage) -> None:
    work = await stage.crash("executor", point)

    await stage.check(work, losses=True)


@pytest.mark.parametrize("point", EXPIRY)
async def test_lease_that_ends_while_the_recorder_crashes_at(point: str, stage: Stage, tmp_path: Path) -> None:
    await stage.only("recorder").drain()
    victim = stage.start("recorder", crash_at=point)
    begins = soon()
    jobs = {
        "held": {"run": writes(stage.ledger, f"until={tmp_path / 'gate'}"), "triggers": [{"at": begins.isoformat()}]},
        "after": {"run": writes(stage.ledger), "needs": ["held"]},
    }
    work = make_work(point.replace(".", "-").replace("_", "-"), jobs, {"held": [begins]}, {"held": frozenset(jobs)})
    await stage.apply(work)
    await stage.told(bool, work)

    stage.only("executor").kill9()
    await victim.dies()
    (tmp_path / "gate").touch()
    stage.complete()

    await stage.settled(work)
    await stage.check(work, losses=True)
