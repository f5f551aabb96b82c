"""Signed webhooks at a steady rate and in bursts: events that no trigger waits for, then such that start runs.

The ingress is a process of its own beside the other actors, as in operation; its endpoints check Standard Webhooks.
Times run from the instant a request is due to its answer, the sender's own delays included.
"""

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
_UNDECIDED: Final = "SELECT count(*) FROM scheduler.events WHERE verdict IS NULL"


async def measure_webhooks(load: Load, count: int) -> dict[str, Any]:
    """Send ``count`` at 500 a second, and bursts of ``count`` / 5 at 1,000 a second; to either endpoint.

    Raises:
        BenchmarkError: one was not taken, or is not an event with one run where it starts one.
    """
    jobs = {"sell": JobSpec.model_validate(_JOB)}
    hooks = {name: WebhookSpec.model_validate(_HOOK) for name in ("news", "orders")}
    await apply(load.stores.main, Definitions(_TENANT, None, jobs, {}, (), webhooks=hooks), prune=False, clock=CLOCK)
    with load.system.ingress(BENCH_HOOK_SECRET=SECRET) as (server, port):
        events = await _Measuring(load, port, "news", server.pid).measure(count)
        runs = await _Measuring(load, port, "orders", server.pid).measure(count)
    return {
        "webhooks": events.figures,
        "cpu_us_per_webhook": events.cpu_us,
        "webhook_runs": runs.figures,
        "cpu_us_per_webhook_run": runs.cpu_us,
    }


class _Measuring:
    """One endpoint."""

    def __init__(self, load: Load, port: int, hook: str, ingress_pid: int) -> None:
        self._load = load
        self._hook = hook
        self._ingress_pid = ingress_pid
        self._senders = Senders(port, f"/hooks/{_TENANT}/{hook}", _CONNECTIONS)
        self._sent = 0
        self.figures: dict[str, float] = {}
        self.cpu_us: dict[str, float] = {}

    async def measure(self, count: int) -> "_Measuring":
        await self._senders.open()
        try:
            await self._send(max(5, count // 20), _STEADY_PER_S)
            before, busy_s, since = self._cpu(), machine_busy_s(), time.monotonic()
            steady = await self._send(count, _STEADY_PER_S)
            used_s = {name: used - before[name] for name, used in self._cpu().items()}
            foreign_s, wall_s = machine_busy_s() - busy_s - sum(used_s.values()), time.monotonic() - since
            bursts = [await self._send(max(5, count // 5), _BURST_PER_S) for _ in range(3)]
        finally:
            await self._senders.close()
        await self._check()
        quick = percentiles([seconds for burst in bursts for seconds in burst.seconds])
        self.cpu_us = {name: round(seconds * 1e6 / count, 1) for name, seconds in used_s.items()}
        self.figures = {
            **{f"steady_{name}_ms": value for name, value in percentiles(steady.seconds).items()},
            "steady_per_s": round(count / steady.took_s),
            **{f"burst_{name}_ms": value for name, value in quick.items()},
            "burst_per_s": round(sum(len(burst.seconds) for burst in bursts) / sum(burst.took_s for burst in bursts)),
            "foreign_cpu_percent": round(100 * foreign_s / wall_s / len(os.sched_getaffinity(0)), 1),
        }
        return self

    async def _send(self, count: int, per_s: int) -> Answers:
        """Send, and wait until all is decided and run."""
        answers = await self._senders.send(count, per_s)
        self._sent += count
        if answers.statuses.keys() != {202}:
            raise BenchmarkError(f"{count} webhooks were answered {dict(answers.statuses)}")
        while await self._load.db.fetchval(_UNDECIDED):
            await CLOCK.sleep(0.1)
        await self._load.idle()
        return answers

    async def _check(self) -> None:
        db, topic = self._load.db, f"webhook.{self._hook}"
        events = await db.fetchval("SELECT count(*) FROM scheduler.events WHERE topic = $1", topic)
        runs = await db.fetchval("SELECT count(*) FROM scheduler.runs WHERE tenant = $1", _TENANT)
        if (events, runs) != (self._sent, self._sent if self._hook == "orders" else 0):
            raise BenchmarkError(f"{self._sent} webhooks gave {events} events and {runs} runs")

    def _cpu(self) -> dict[str, float]:
        return {**self._load.system.cpu(), "ingress": cpu_s(self._ingress_pid)}
