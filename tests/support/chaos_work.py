"""The work that chaos tests give to the stage, and what its definitions promise, worked out by hand."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from scheduler.definitions.model import Definitions
from schemas.job_spec import JobSpec
from tests.support import ledger_job
from tests.support.ledger import Expected

STEP = timedelta(milliseconds=500)
DIAMOND = frozenset({"split", "left", "right", "join"})


@dataclass(frozen=True, slots=True)
class Work:
    """The jobs of a tenant and what must come of them."""

    definitions: Definitions
    expected: Expected

    @property
    def tenant(self) -> str:
        return self.definitions.tenant


def writes(ledger: Path, *options: str) -> dict[str, Any]:
    """Return the ``run`` key of a job that writes to the ledger; see ledger_job for the options."""
    return {"command": [sys.executable, "-S", "-I", ledger_job.__file__, str(ledger), *options]}


def make_work(
    tenant: str,
    jobs: Mapping[str, Mapping[str, Any]],
    instants: Mapping[str, Sequence[datetime]] | None = None,
    flows: Mapping[str, frozenset[str]] | None = None,
) -> Work:
    specs = {name: JobSpec.model_validate(fields) for name, fields in jobs.items()}
    alone = frozenset(name for name, spec in specs.items() if spec.overlap.takes_turns and spec.max_running == 1)
    return Work(Definitions(tenant, None, specs, {}, ()), Expected(instants or {}, flows or {}, alone=alone))


def soon(seconds: float = 0.7) -> datetime:
    """Return an instant that a trigger can be anchored at: whole milliseconds, in the future."""
    at = datetime.now(UTC) + timedelta(seconds=seconds)
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def every_step(begins: datetime, count: int) -> dict[str, Any]:
    """Return a trigger that fires ``count`` times from ``begins``, missed instants included."""
    return {
        "every": "500ms",
        "anchor": begins.isoformat(),
        "starts_at": begins.isoformat(),
        "max_fires": count,
        "catch_up": {"policy": "all"},
    }


def steps(begins: datetime, count: int) -> list[datetime]:
    return [begins + index * STEP for index in range(count)]


def mixed(tenant: str, ledger: Path, begins: datetime, *, pulses: int = 3) -> Work:
    """Return a little of everything: runs beside one another, skipped, in turn; a diamond, a retry."""
    run = writes(ledger)
    jobs = {
        "pulse": {"run": run, "overlap": "allow", "triggers": [every_step(begins, pulses)]},
        "slow": {"run": writes(ledger, "hold=0.6"), "triggers": [every_step(begins, 3)]},
        "turns": {
            "run": writes(ledger, "hold=0.6"),
            "overlap": "queue_all",
            "triggers": [every_step(begins, pulses)],
        },
        "flaky": {
            "run": writes(ledger, "fail=1"),
            "retry": {"attempts": 3, "backoff": "fixed", "initial": "100ms", "jitter": 0.0},
            "triggers": [{"at": begins.isoformat(), "catch_up": {"policy": "all"}}],
        },
        "split": {"run": run, "overlap": "allow", "triggers": [every_step(begins, 2)]},
        "left": {"run": run, "overlap": "allow", "needs": ["split"]},
        "right": {"run": run, "overlap": "allow", "needs": ["split"]},
        "join": {"run": run, "overlap": "allow", "needs": ["left", "right"]},
    }
    instants = {
        "pulse": steps(begins, pulses),
        "slow": steps(begins, 3),
        "turns": steps(begins, pulses),
        "flaky": [begins],
        "split": steps(begins, 2),
    }
    return make_work(tenant, jobs, instants, {"split": DIAMOND})
