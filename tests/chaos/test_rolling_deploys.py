"""Executors are replaced one by one under load: every run has one attempt, which starts and ends once."""

import asyncio
import json
from collections import Counter
from typing import Any

import pytest

from tests.support.chaos import ActorProcess, Stage
from tests.support.chaos_work import Work, make_work, writes

LEASE = "8s"
"""Of a machine that has much to do: no attempt may be lost, and no executor be taken for dead."""
AT_ONCE = 12
pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


async def told(stage: Stage, *arguments: str) -> Any:
    """Return what a command says, without holding up the load."""
    return json.loads(await asyncio.to_thread(stage.command, *arguments, "--json"))


async def row_of(stage: Stage, actor: ActorProcess) -> dict[str, Any]:
    rows = (await told(stage, "executors"))["executors"]
    found: dict[str, Any] = next(row for row in rows if row["pid"] == actor.process.pid and row["alive"])
    return found


async def fire(stage: Stage, work: Work, count: int) -> None:
    async with stage.database() as db:
        await db.execute(
            """INSERT INTO scheduler.firings
                   (id, tenant, kind, job_id, job_version, fires_at, wall_time, zone, sweep_at)
               SELECT gen_random_uuid(), tenant, 'manual', id, version, now(), 'x', 'UTC', now()
               FROM scheduler.jobs, generate_series(1, $2) WHERE tenant = $1""",
            work.tenant,
            count,
        )
        await db.execute("SELECT pg_notify('scheduler_work', '')")


async def load(stage: Stage, work: Work, ending: asyncio.Event) -> int:
    """Fire more whenever half of what was fired last has started; return how many in all."""
    fired = 0
    while not ending.is_set():
        await fire(stage, work, AT_ONCE)
        fired += AT_ONCE
        enough = fired - AT_ONCE // 2
        await stage.told(lambda entries, n=enough: sum(e.event == "start" for e in entries) >= n, work)
    return fired


async def replace(stage: Stage, leaving: ActorProcess) -> None:
    """Start another executor, drain the old one, and stop it when nothing runs there."""
    await stage.start("executor").works()
    name = (await row_of(stage, leaving))["name"]
    drained = await told(stage, "executors", "drain", name, "--wait", "--timeout", "30s")
    assert {"executor": name, "drain": True, "drained": True, "running": 0} == drained
    row = await row_of(stage, leaving)
    assert (True, True) == (row["alive"], row["draining"])
    busy = "SELECT busy FROM scheduler.executors WHERE name = $1 AND stopped_at IS NULL"
    await stage.until(busy, name, holds=lambda count: count == 0)  # as its next heartbeat tells
    await leaving.drain()


async def test_executors_drained_and_replaced_under_load_start_and_end_each_run_once(stage: Stage) -> None:
    old = [stage.only("executor"), stage.start("executor")]
    await old[1].works()
    work = make_work("rolling", {"step": {"run": writes(stage.ledger, "hold=0.3"), "overlap": "allow"}})
    await stage.apply(work)
    ending = asyncio.Event()
    loading = asyncio.create_task(load(stage, work, ending))
    await stage.told(lambda entries: len(entries) > AT_ONCE, work)

    for leaving in old:
        await replace(stage, leaving)
    before = len(stage.entries(work))
    await stage.told(lambda entries: len(entries) > before + AT_ONCE, work)
    ending.set()
    fired = await loading

    done = "SELECT count(*) FROM scheduler.runs WHERE tenant = $1 AND state = 'succeeded' AND sweep_at IS NULL"
    assert fired == await stage.until(done, work.tenant, holds=lambda count: count >= fired)
    events = Counter((entry.run_id, entry.event) for entry in stage.entries(work))
    assert ({1}, 2 * fired) == (set(events.values()), len(events))
    assert {1} == {entry.attempt for entry in stage.entries(work)}
