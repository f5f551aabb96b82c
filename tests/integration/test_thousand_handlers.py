"""One executor with a thousand slots has a thousand async handlers in hand at once."""

from pathlib import Path

from actors.executing.settings import ExecutorSettings
from actors.executor import Executor
from scheduler.clock import SystemClock
from scheduler.sandbox.address_guard import NetworkPolicy
from scheduler.sandbox.handlers import HandlerRegistry
from scheduler.sandbox.runner import Runner
from tests.support.engine import engine
from tests.support.fleet import LEASE_S

MANY = 1000
HANDLERS = f"""
import asyncio
from scheduler.handlers import handler

inside = set()
all_in = asyncio.Event()

@handler("meet")
async def meet(ctx, params):
    inside.add(ctx.run_id)
    if len(inside) == {MANY}:
        all_in.set()
    await all_in.wait()
    return len(inside)
"""
FIRE = """
INSERT INTO firings (id, tenant, kind, job_id, job_version, fires_at, wall_time, zone, sweep_at)
SELECT gen_random_uuid(), tenant, 'manual', id, version, now(), 'x', 'UTC', now()
FROM jobs, generate_series(1, $1::int)
"""
ENDS = "SELECT count(*) FILTER (WHERE state = 'succeeded' AND attempt = 1 AND result = $1::jsonb) FROM runs"


async def test_each_handler_waits_for_all_others_to_have_begun(database_url: str, tmp_path: Path) -> None:
    (tmp_path / "handlers.py").write_text(HANDLERS)
    registry = HandlerRegistry(tmp_path)
    registry.load(["handlers.py"])
    async with engine(database_url, alive=False) as stage:
        runner = Runner(
            code_dir=tmp_path,
            run_dir=tmp_path / "runs",
            handlers=registry,
            network=NetworkPolicy(),
            clock=SystemClock(),
        )
        settings = ExecutorSettings("wide", "default", tmp_path / "spool", slots=MANY, lease_s=LEASE_S)
        made = Executor(settings, stage.executor.transport, runner, SystemClock(), stage.dispatcher.rng)
        await made.start()
        try:
            await stage.apply(meet={"run": {"handler": "meet"}, "overlap": "allow"})
            await stage.until("SELECT count(*) FROM executors WHERE slots = $1", MANY)
            await stage.db.execute(FIRE, MANY)
            await stage.db.execute("SELECT pg_notify('scheduler_work', '')")

            await stage.until(ENDS, MANY, holds=lambda count: count == MANY)
        finally:
            await made.stop()
