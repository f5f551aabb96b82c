"""Two Tickers: one dies a second before firings are due, while and right after they are written, and a second later."""

import re
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from actors.ticker import TickSettings
from schemas.definitions_file import PoolSpec
from tests.support.chaos import Stage
from tests.support.chaos_work import Work, make_work, soon

LEASE = "5s"
HERD = 100
SECOND = timedelta(seconds=1)
LEAD = timedelta(seconds=TickSettings().lead_s)
LEDGER = """
SELECT f.fires_at, f.count, f.verdict, f.held_rank
FROM scheduler.firings AS f JOIN scheduler.jobs AS j ON j.id = f.job_id
WHERE j.tenant = $1 AND starts_with(j.name, $2) ORDER BY f.fires_at
"""
CROWD = 4000
"""Written down half a second ahead."""
CROWDED = """
SELECT count(*) AS firings, count(DISTINCT trigger_id) AS triggers, count(DISTINCT run_id) AS runs,
       count(*) FILTER (WHERE fires_at = $2 AND verdict = 'started' AND decided_at >= fires_at) AS right,
       (SELECT count(*) FROM scheduler.runs WHERE tenant = $1) AS all_runs,
       count(*) FILTER (WHERE planned_at < fires_at) AS ahead
FROM scheduler.firings WHERE tenant = $1
"""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


async def test_each_instant_has_one_row_that_starts_whenever_a_ticker_dies(stage: Stage) -> None:
    """Nothing is late either: what is found more than 30 s late would be merged or held, and nothing is."""
    tickers = [stage.only("ticker"), stage.start("ticker")]
    await tickers[1].works()
    first = soon(4)
    instants = [first + 4 * n * SECOND for n in range(4)]
    run = {"command": ["true"]}
    times = [{"at": [at.isoformat() for at in instants], "catch_up": {"policy": "all"}}]
    jobs = {f"herd{n}": {"run": run, "triggers": times, "overlap": "allow"} for n in range(HERD)}
    beats = [first + n * SECOND for n in range(16)]
    fast = {"every": "1s", "anchor": first.isoformat(), "starts_at": first.isoformat(), "max_fires": len(beats)}
    jobs["fast"] = {"run": run, "triggers": [fast | {"catch_up": {"policy": "all"}}], "overlap": "allow"}
    work = make_work("kills", jobs, {name: beats if name == "fast" else instants for name in jobs})

    async def kill_one() -> None:
        tickers.pop(0).kill9()
        tickers.append(stage.start("ticker"))
        await tickers[-1].works()

    await stage.apply(work)
    await stage.until("SELECT clock_timestamp() >= $1", instants[0] - SECOND)
    await kill_one()
    # Whoever plans it does so at this moment; a kill that comes a little late hits right after it.
    await stage.until("SELECT clock_timestamp() >= $1", instants[1] - LEAD)
    await kill_one()
    await stage.until("SELECT count(*) FROM scheduler.firings WHERE tenant = 'kills' AND fires_at = $1", instants[2])
    await kill_one()
    await stage.until("SELECT clock_timestamp() >= $1", instants[3] + SECOND)
    await kill_one()
    await stage.settled(work)

    async with stage.database() as db:
        herd = [tuple(row) for row in await db.fetch(LEDGER, "kills", "herd")]
        every = [tuple(row) for row in await db.fetch(LEDGER, "kills", "fast")]
    assert [(at, 1, "started", None) for at in instants for _ in range(HERD)] == herd
    assert [(at, 1, "started", None) for at in beats] == every


def crowd_of(tenant: str, at: datetime) -> Work:
    """Return many triggers due at once, whose runs wait in a pool without executors."""
    times = [{"id": f"t{n}", "at": at.isoformat(), "catch_up": {"policy": "all"}} for n in range(20)]
    job = {"run": {"command": ["true"]}, "pool": "away", "overlap": "allow", "triggers": times}
    jobs = {f"job{n}": job for n in range(CROWD // len(times))}
    work = make_work(tenant, jobs, {name: [at] for name in jobs})
    return replace(work, definitions=replace(work.definitions, pools={"away": PoolSpec()}))


@pytest.mark.parametrize("point", ["before_commit:3", "after_commit", "after_commit:3", ""])
async def test_crowd_written_ahead_starts_each_once_when_its_ticker_dies(stage: Stage, point: str) -> None:
    """It dies with part of the crowd written down, or by kill -9 with all of it; another one comes after its death."""
    for ticker in [actor for actor in stage.actors if actor.kind == "ticker" and actor.alive]:
        await ticker.drain()
    victim = stage.start("ticker", crash_at=f"ticker.{point}" if point else "")
    await victim.works()
    tenant, at = f"crowd-{re.sub('[_:]', '-', point) or 'all'}", soon(6)
    await stage.apply(crowd_of(tenant, at))

    if point:
        await victim.dies()
    else:
        await stage.until("SELECT count(*) = $2 FROM scheduler.firings WHERE tenant = $1", tenant, CROWD)
        victim.kill9()
    stage.start("ticker")
    started = "SELECT count(*) FROM scheduler.firings WHERE tenant = $1 AND verdict = 'started'"
    await stage.until(started, tenant, holds=lambda decided: decided == CROWD)

    async with stage.database() as db:
        found = dict(await db.fetchrow(CROWDED, tenant, at))
    assert found.pop("ahead") > 0
    assert dict.fromkeys(("firings", "triggers", "runs", "right", "all_runs"), CROWD) == found
