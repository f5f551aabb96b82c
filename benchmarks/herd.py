"""Many jobs due at one instant: throughput of runs, and how fast a herd gets its verdicts.

Each job has one ``at`` trigger, all at the same instant, and everything else by default (overlap
skip, so that the Dispatcher counts active runs). The definitions are applied and in the caches
before; a warm-up run has gone through every process. The clock runs from the due instant, so that
planning, deciding, offering, claiming, running and recording all count, to the commit of the last
run's end (throughput) or of the last verdict with its run row (herd), as PostgreSQL stamped them.
"""

import asyncio
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from benchmarks.load import BenchmarkError, Load
from benchmarks.processes import machine_busy_s

_LEAST_SPARE_S: Final = 3.0
_READY_PER_S: Final = 500
"""Jobs applied and loaded in a second, at a slow guess."""
_ENDED: Final = """
SELECT count(*) AS runs, count(*) FILTER (WHERE state = 'succeeded' AND attempt = 1 AND owner IS NOT NULL) AS good,
       extract(epoch FROM max(pg_xact_commit_timestamp(xmin)) - $2)::float8 AS seconds
FROM scheduler.runs WHERE tenant = $1 AND fired_at = $2
"""
_DECIDED: Final = """
SELECT extract(epoch FROM max(pg_xact_commit_timestamp(xmin)) - $2)::float8
FROM scheduler.firings WHERE tenant = $1 AND fires_at = $2 AND verdict = 'started'
"""


@dataclass(frozen=True, slots=True)
class Herd:
    """What became of a herd; seconds since the due instant."""

    firings: int
    decided_s: float
    ended_s: float
    cpu_us_per_run: dict[str, float]
    foreign_cpu_percent: float
    """Share of the machine that other processes took meanwhile, this one included."""


async def run_herd(load: Load, tenant: str, count: int) -> Herd:
    """Let ``count`` jobs become due at once, and wait for the last end.

    Raises:
        BenchmarkError: the jobs were never ready in time, or not every one ran exactly once, claimed,
            at its first attempt.
    """
    due = await _make_ready(load, tenant, count)
    since, busy_s, before = time.monotonic(), machine_busy_s(), load.system.cpu()
    await load.idle()
    after = load.system.cpu()
    used_s = {name: after[name] - before[name] for name in after}
    foreign_s = machine_busy_s() - busy_s - sum(used_s.values())
    share = foreign_s / (time.monotonic() - since) / len(os.sched_getaffinity(0))
    decided_s, ended_s = await _judge(load, tenant, count, due)
    per_run = {name: round(seconds * 1e6 / count, 1) for name, seconds in used_s.items()}
    return Herd(count, decided_s, ended_s, per_run, round(100 * share, 1))


async def _make_ready(load: Load, tenant: str, count: int) -> datetime:
    """Apply and load the jobs, sleep until they are due, return that instant; try again if that was too soon."""
    for patience in (1, 2, 4):
        spare_s = _LEAST_SPARE_S + patience * count / _READY_PER_S
        due = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=spare_s)
        job: dict[str, Any] = {"run": {"handler": "noop"}, "triggers": [{"at": due.isoformat()}]}
        await load.apply(tenant, {f"job-{number}": job for number in range(count)})
        await load.warm(tenant, "job-0")
        left_s = (due - datetime.now(UTC)) / timedelta(seconds=1)
        if left_s > 0:
            await asyncio.sleep(left_s)
            return due
    raise BenchmarkError(f"{count} jobs are not applied and loaded in time")


async def _judge(load: Load, tenant: str, count: int, due: datetime) -> tuple[float, float]:
    ended = await load.db.fetchrow(_ENDED, tenant, due)
    if ended is None or ended["runs"] != count or ended["good"] != count:
        raise BenchmarkError(f"{count} firings were due, and these are their runs: {ended}")
    return await load.db.fetchval(_DECIDED, tenant, due), ended["seconds"]
