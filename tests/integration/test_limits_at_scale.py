"""No limit is exceeded while many executors, two Dispatchers and two Recorders work off thousands of runs.

All is checked from the ledger afterwards: what ran when, by the one clock of the executors. ``LIMITS_RUNS=50000``
makes it so many runs; that takes some minutes.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final
from unittest.mock import ANY

import pytest

from tests.support.engine import engine
from tests.support.fleet import fleet, second_hands

POOLS: Final = {"default": (18, 5), "small": (2, 3)}
"""Twenty executors: so many on each pool, and the slots of each."""
NOOP: Final = {"run": {"handler": "noop"}, "isolation": "inline"}
JOBS: Final[Mapping[str, Mapping[str, Any]]] = {
    "free": {**NOOP, "overlap": "allow"},
    "keyed": {**NOOP, "overlap": "allow", "concurrency": {"key": "k-{{ params.n }}", "limit": 3}},
    "one": {**NOOP, "overlap": "allow", "concurrency": {"key": "db", "limit": 7}},
    "other": {**NOOP, "overlap": "allow", "concurrency": {"key": "db", "limit": 7}, "pool": "small"},
    "rated": {**NOOP, "overlap": "allow", "rate": "100/s"},
    "turns": {**NOOP, "overlap": "queue_all", "max_running": 4},
}
SHARES: Final = {"free": 50, "keyed": 20, "one": 5, "other": 5, "rated": 10, "turns": 10}
"""Of a hundred runs, so many are of each job."""
RATE: Final = 100.0
AT_ONCE_S: Final = 1.5
"""So much of a rate may start at once when nobody looked for that long."""
RUNS: Final = int(os.environ.get("LIMITS_RUNS", "5000"))
FIRE = """
INSERT INTO firings (id, tenant, kind, job_id, job_version, fires_at, wall_time, zone, params, sweep_at)
SELECT gen_random_uuid(), tenant, 'manual', id, version, now(), 'x', 'UTC', jsonb_build_object('n', g % 5), now()
FROM jobs, generate_series(1, $2::int) AS g WHERE name = $1
"""
RAN = """
SELECT r.job_name AS job, r.pool, r.limit_key AS key, a.executor,
       extract(epoch FROM a.started_at)::float8 AS began, extract(epoch FROM a.finished_at)::float8 AS ended
FROM runs AS r JOIN attempts AS a ON a.run_id = r.id
"""
UNDECIDED = "SELECT EXISTS (SELECT FROM firings WHERE verdict IS NULL)"
UNDER_WAY = "SELECT EXISTS (SELECT FROM runs WHERE finished_at IS NULL)"


def most_at_once(spans: Iterable[tuple[float, float]]) -> int:
    """Return how many of the spans lie over one another at most; one that begins where another ends does not."""
    now = most = 0
    for _, change in sorted(step for began, ended in spans for step in ((began, 1), (ended, -1))):
        now += change
        most = max(most, now)
    return most


def most_by(key: str, rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Return by a column of ``rows`` how many ran at once at most; rows without it do not count."""
    spans: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        if row[key] is not None:
            spans[row[key]].append((row["began"], row["ended"]))
    return {name: most_at_once(found) for name, found in spans.items()}


def most_ahead(offered: Iterable[float], rate: float) -> float:
    """Return how many more than ``rate`` allows were offered in the worst stretch of time, its first one included."""
    worst, lowest = 0.0, float("inf")
    for number, at in enumerate(sorted(offered)):
        lowest = min(lowest, number - at * rate)
        worst = max(worst, number - at * rate - lowest)
    return worst


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_no_limit_is_exceeded_whoever_works(database_url: str, tmp_path: Path) -> None:
    async with engine(database_url, alive=False) as stage, fleet(stage, tmp_path, POOLS), second_hands(stage):
        await stage.apply(**JOBS)
        for job, share in SHARES.items():
            await stage.db.execute(FIRE, job, RUNS * share // 100)
        await stage.db.execute("SELECT pg_notify('scheduler_work', '')")

        while await stage.db.fetchval(UNDECIDED) or await stage.db.fetchval(UNDER_WAY):
            await stage.clock.sleep(0.2)
        rows = await stage.db.fetch(RAN)
        offered = await stage.db.fetch(
            "SELECT extract(epoch FROM queued_at)::float8 FROM runs WHERE job_name = 'rated'"
        )
        ends = dict(await stage.db.fetch("SELECT state || attempt, count(*) FROM runs GROUP BY 1"))

    assert ends == {"succeeded1": RUNS}
    assert Counter(row["job"] for row in rows) == {job: RUNS * share // 100 for job, share in SHARES.items()}
    assert most_by("key", rows) == {"job rated": ANY, "key db": 7} | {f"key k-{n}": 3 for n in range(5)}
    assert most_by("job", rows)["turns"] == 4
    executors = most_by("executor", rows)
    assert len(executors) == 20
    assert all(most <= POOLS[name.partition("-")[0]][1] for name, most in executors.items())
    assert most_by("pool", rows)["small"] <= 6
    assert most_by("pool", rows)["default"] <= 90
    assert (
        most_ahead((row[0] for row in offered), RATE) <= 1.1 * AT_ONCE_S * RATE
    )  # offers bear the time at which their transaction began
