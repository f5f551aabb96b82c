"""Two Tickers, of which one dies before, right at, and right after firings are written that are due at once."""

from datetime import timedelta

import pytest

from actors.ticker import TickSettings
from tests.support.chaos import Stage
from tests.support.chaos_work import make_work, soon

LEASE = "5s"
HERD = 100
SECOND = timedelta(seconds=1)
LEAD = timedelta(seconds=TickSettings().lead_s)
LEDGER = """
SELECT f.fires_at, f.count, f.verdict, f.held_rank
FROM scheduler.firings AS f JOIN scheduler.jobs AS j ON j.id = f.job_id
WHERE j.tenant = $1 AND starts_with(j.name, $2) ORDER BY f.fires_at
"""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


async def test_each_instant_has_one_row_that_starts_whenever_a_ticker_dies(stage: Stage) -> None:
    """Nothing is late either: what is found more than 30 s late would be merged or held, and nothing is."""
    tickers = [stage.only("ticker"), stage.start("ticker")]
    await tickers[1].works()
    first = soon(2)
    instants = [first, first + 3 * SECOND, first + 6 * SECOND]
    run = {"command": ["true"]}
    times = [{"at": [at.isoformat() for at in instants], "catch_up": {"policy": "all"}}]
    jobs = {f"herd{n}": {"run": run, "triggers": times, "overlap": "allow"} for n in range(HERD)}
    beats = [first + n * SECOND for n in range(10)]
    fast = {"every": "1s", "anchor": first.isoformat(), "starts_at": first.isoformat(), "max_fires": len(beats)}
    jobs["fast"] = {"run": run, "triggers": [fast | {"catch_up": {"policy": "all"}}], "overlap": "allow"}
    work = make_work("kills", jobs, {name: beats if name == "fast" else instants for name in jobs})

    async def kill_one() -> None:
        tickers.pop(0).kill9()
        tickers.append(stage.start("ticker"))
        await tickers[-1].works()

    await stage.apply(work)
    await kill_one()
    # Whoever plans it does so at this moment; a kill that comes a little late hits right after it.
    await stage.until("SELECT clock_timestamp() >= $1", instants[1] - LEAD)
    await kill_one()
    await stage.until("SELECT count(*) FROM scheduler.firings WHERE tenant = 'kills' AND fires_at = $1", instants[2])
    await kill_one()
    await stage.settled(work)

    async with stage.database() as db:
        herd = [tuple(row) for row in await db.fetch(LEDGER, "kills", "herd")]
        every = [tuple(row) for row in await db.fetch(LEDGER, "kills", "fast")]
    assert [(at, 1, "started", None) for at in instants for _ in range(HERD)] == herd
    assert [(at, 1, "started", None) for at in beats] == every
