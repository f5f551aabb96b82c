"""Signed webhooks at a steady rate and in bursts, each of which starts a run of a no-op job.

The ingress is a process of its own beside the other actors, as in operation; its endpoint checks Standard Webhooks.
Times run from the instant a request is due to its answer, the sender's own delays included.
"""

import asyncio
import os
import time
from typing import Any, Final

from benchmarks.load import CLOCK, BenchmarkError, Load, percentiles
from benchmarks.processes import cpu_s, machine_busy_s
from benchmarks.sender import SECRET, Answers, Senders
from scheduler.definitions.model import Definitions
from scheduler.store.definitions import apply
from schemas.job_spec import JobSpec
from schemas.webhook_spec import WebhookSpec

_TENANT: Final = "hooks"
_STEADY_PER_S: Final = 500
_BURST_PER_S: Final = 1000
_CONNECTIONS: Final = 100
_JOB: Final = {"run": {"handler": "noop"}, "triggers": [{"webhook": "orders"}]}
_HOOK: Final = {"verify": "standard-webhooks", "secrets": [{"env": "BENCH_HOOK_SECRET"}]}


async def measure_webhooks(load: Load, count: int) -> dict[str, Any]:
    """Send ``count`` at 500 a second; then ``count`` / 5 as fast as 1,000 a second, three times.

    Raises:
        BenchmarkError: one was not taken, or is not an event with one run.
    """
    await _apply(load)
    with load.system.ingress(BENCH_HOOK_SECRET=SECRET) as (server, port):
        senders = Senders(port, f"/hooks/{_TENANT}/orders", _CONNECTIONS)
        await senders.open()
        try:
            await senders.send(max(5, count // 20), _STEADY_PER_S)
            await load.idle()
            before = {**load.system.cpu(), "ingress": cpu_s(server.pid)}
            busy_s, since = machine_busy_s(), time.monotonic()
            steady = await senders.send(count, _STEADY_PER_S)
            await load.idle()
            after = {**load.system.cpu(), "ingress": cpu_s(server.pid)}
            busy_s, wall_s = machine_busy_s() - busy_s, time.monotonic() - since
            bursts = []
            for _ in range(3):
                bursts.append(await senders.send(max(5, count // 5), _BURST_PER_S))
                await load.idle()
        finally:
            await senders.close()
    total = max(5, count // 20) + count + 3 * max(5, count // 5)
    await _check(load, total, [steady, *bursts])
    used_s = {name: after[name] - before[name] for name in after}
    foreign_s = busy_s - sum(used_s.values())
    quick = percentiles([seconds for burst in bursts for seconds in burst.seconds])
    figures = {
        **{f"steady_{name}_ms": value for name, value in percentiles(steady.seconds).items()},
        "steady_per_s": round(count / steady.took_s),
        **{f"burst_{name}_ms": value for name, value in quick.items()},
        "burst_per_s": round(sum(len(burst.seconds) for burst in bursts) / sum(burst.took_s for burst in bursts)),
        "foreign_cpu_percent": round(100 * foreign_s / wall_s / len(os.sched_getaffinity(0)), 1),
    }
    return {
        "webhooks": figures,
        "cpu_us_per_webhook": {name: round(seconds * 1e6 / count, 1) for name, seconds in used_s.items()},
    }


async def _apply(load: Load) -> None:
    jobs, hooks = {"sell": JobSpec.model_validate(_JOB)}, {"orders": WebhookSpec.model_validate(_HOOK)}
    wanted = Definitions(_TENANT, None, jobs, {}, (), webhooks=hooks)
    await apply(load.stores.main, wanted, prune=False, clock=CLOCK)
    await asyncio.sleep(0)


async def _check(load: Load, total: int, answers: list[Answers]) -> None:
    statuses = {status for one in answers for status in one.statuses}
    events = await load.db.fetchval("SELECT count(*) FROM scheduler.events WHERE tenant = $1", _TENANT)
    runs = await load.db.fetchval("SELECT count(*) FROM scheduler.runs WHERE tenant = $1", _TENANT)
    if statuses != {202} or (events, runs) != (total, total):
        raise BenchmarkError(f"{total} webhooks were answered {statuses}, and gave {events} events and {runs} runs")
