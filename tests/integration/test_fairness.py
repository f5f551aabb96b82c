"""Ten tenants share a pool and one of them floods it: what each gets of it, and how long the others wait."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Final

import pytest

from scheduler.definitions.model import Definitions
from scheduler.store.definitions import apply
from scheduler.store.tenants import Terms, create_tenant
from schemas.job_spec import JobSpec
from tests.support.engine import Engine, engine
from tests.support.fleet import fleet

FLOOD: Final = "flood"
OTHERS: Final = tuple(f"tenant-{number}" for number in range(9))
TAKES: Final = (0.08, 0.12)
POOLS: Final = {"default": (2, 5)}
"""Ten slots, and runs of a tenth of a second: a hundred runs a second."""
WORK: Final = JobSpec.model_validate({"run": {"handler": "noop"}, "isolation": "inline", "overlap": "allow"})
FIRE: Final = """
INSERT INTO firings (id, tenant, kind, job_id, job_version, fires_at, wall_time, zone, sweep_at)
SELECT gen_random_uuid(), j.tenant, 'manual', j.id, 1, now(), 'x', 'UTC', now()
FROM jobs AS j, generate_series(1, $2::int) WHERE j.tenant = ANY ($1::text[])
"""
WAITED: Final = """
SELECT extract(epoch FROM r.claimed_at - f.fires_at)::float8 FROM runs AS r JOIN firings AS f ON f.id = r.firing_id
WHERE r.tenant <> 'flood' AND f.fires_at >= $1
"""
SHARES: Final = """
WITH first AS (SELECT tenant FROM runs WHERE claimed_at IS NOT NULL ORDER BY claimed_at LIMIT $1)
SELECT tenant, count(*)::int FROM first GROUP BY tenant
"""


@asynccontextmanager
async def ten_tenants(database_url: str, folder: Path, weights: Mapping[str, int]) -> AsyncIterator[Engine]:
    async with engine(database_url, alive=False) as stage, fleet(stage, folder, POOLS, TAKES):
        for tenant in (FLOOD, *OTHERS):
            await create_tenant(stage.stores.main, tenant, Terms(weight=weights.get(tenant, 1)))
            wanted = Definitions(tenant, None, {"work": WORK}, {}, ())
            await apply(stage.stores.main, wanted, prune=False, clock=stage.clock)
        yield stage


async def fire(stage: Engine, tenants: tuple[str, ...], runs: int) -> None:
    await stage.db.execute(FIRE, list(tenants), runs)
    await stage.db.execute("SELECT pg_notify('scheduler_work', '')")


async def waits_of_the_nine(stage: Engine) -> list[float]:
    """Let each of the nine fire now and then for some seconds; return how long their runs waited, ascending."""
    since = await stage.db.fetchval("SELECT now()")
    for _ in range(10):
        await fire(stage, OTHERS, 1)
        await stage.clock.sleep(0.4)
    ended = "SELECT count(*) FROM runs WHERE tenant <> 'flood' AND finished_at IS NOT NULL AND created_at >= $1"
    await stage.until(ended, since, holds=lambda count: count == 10 * len(OTHERS))
    return sorted(row[0] for row in await stage.db.fetch(WAITED, since))


@pytest.mark.slow
async def test_a_flood_of_one_tenant_keeps_the_others_waiting_for_a_queue_and_not_for_a_backlog(
    database_url: str, tmp_path: Path
) -> None:
    async with ten_tenants(database_url, tmp_path, {}) as stage:
        calm = await waits_of_the_nine(stage)
        await fire(stage, (FLOOD,), 3000)
        await stage.until("SELECT count(*) > 100 FROM runs WHERE tenant = 'flood' AND finished_at IS NOT NULL")
        flooded = await waits_of_the_nine(stage)
        left = await stage.db.fetchval("SELECT count(*) FROM runs WHERE tenant = 'flood' AND claimed_at IS NULL")

    assert left > 1000  # ten seconds of work of the whole pool, and nobody waited for it
    assert (median(calm) < 0.2, calm[-1] < 1.0) == (True, True), calm
    assert (median(flooded) < 2.0, flooded[-1] < 4.0) == (True, True), flooded


@pytest.mark.slow
@pytest.mark.parametrize("weights", [{}, {"tenant-0": 3}])
async def test_tenants_that_all_wait_get_what_their_weights_say(
    database_url: str, tmp_path: Path, weights: Mapping[str, int]
) -> None:
    counted = 600
    async with ten_tenants(database_url, tmp_path, weights) as stage:
        await stage.db.execute("UPDATE pools SET paused_at = now()")
        await fire(stage, (FLOOD,), 1000)
        await fire(stage, OTHERS, 160)
        backlog = "SELECT count(*) FROM runs WHERE state = 'ready'"
        await stage.until(backlog, holds=lambda count: count == 1000 + 160 * len(OTHERS))
        await stage.db.execute("UPDATE pools SET paused_at = NULL")
        await stage.db.execute("SELECT pg_notify('scheduler_work', '')")
        await stage.until("SELECT count(*) FROM runs WHERE claimed_at IS NOT NULL", holds=lambda count: count > counted)
        shares = dict(await stage.db.fetch(SHARES, counted))

    whole = 10 + sum(weight - 1 for weight in weights.values())
    for tenant in (FLOOD, *OTHERS):
        fair = counted * weights.get(tenant, 1) / whole
        assert abs(shares.get(tenant, 0) - fair) <= 0.4 * fair, (tenant, shares)
