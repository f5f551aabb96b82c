"""Two Tickers, of which one dies right before, at, and right after an instant at which many triggers are due."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from tests.support.chaos import DEADLINE_S, Stage

LEASE = "5s"
HERD = 100
SECOND = timedelta(seconds=1)
LEDGER = """
SELECT f.fires_at, f.count, f.verdict, f.held_rank FROM firings AS f JOIN jobs AS j ON j.id = f.job_id
WHERE j.tenant = $1 AND starts_with(j.name, $2) ORDER BY f.fires_at
"""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


async def until(at: datetime) -> None:
    await asyncio.sleep((at - datetime.now(UTC)) / SECOND)


async def test_each_instant_has_one_row_whenever_a_ticker_dies(stage: Stage) -> None:
    """Nothing is late either: what is found more than 30 s late would be merged or held, and nothing is."""
    tickers = [stage.only("ticker"), stage.start("ticker")]
    await tickers[1].works()
    first = datetime.now(UTC).replace(microsecond=0) + 4 * SECOND
    instants = [first, first + 3 * SECOND, first + 6 * SECOND]
    run = {"command": ["true"]}
    jobs: dict[str, object] = {
        f"herd{n}": {"run": run, "triggers": [{"at": [at.isoformat() for at in instants]}], "overlap": "allow"}
        for n in range(HERD)
    }
    fast = {"every": "1s", "anchor": first.isoformat(), "starts_at": first.isoformat(), "max_fires": 10}
    jobs["fast"] = {"run": run, "triggers": [fast], "overlap": "allow"}
    file = stage.folder / "kills.json"
    file.write_text(json.dumps({"version": 1, "tenant": "kills", "jobs": jobs}))
    stage.command("apply", str(file))

    for at, offset in zip(instants, (-SECOND, timedelta(0), SECOND), strict=True):
        await until(at + offset)
        tickers.pop(0).kill9()
        tickers.append(stage.start("ticker"))

    db = await asyncpg.connect(stage.dsn, server_settings={"search_path": "scheduler"})
    try:
        async with asyncio.timeout(DEADLINE_S):
            while await db.fetchval("SELECT count(*) FROM triggers WHERE tenant = 'kills' AND next_at IS NOT NULL"):
                await asyncio.sleep(0.1)
        herd = [tuple(row)[:2] for row in await db.fetch(LEDGER, "kills", "herd")]
        assert [(at, 1) for at in instants for _ in range(HERD)] == herd
        every = await db.fetch(LEDGER, "kills", "fast")
        assert [first + n * SECOND for n in range(10)] == [row["fires_at"] for row in every]
        assert {(1, None)} == {(row["count"], row["held_rank"]) for row in every}
        assert {row["verdict"] for row in every} <= {None, "started"}
    finally:
        await db.close()
