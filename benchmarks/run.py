"""``python -m benchmarks.run [N]``: measure, print a table, write ``build/bench.json``.

N scales how much is done: 1 is everything, 0.1 a tenth. ``--quick`` does just enough to see that
it works. ``--part`` measures only that part, and may be repeated.
"""

import argparse
import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from benchmarks.herd import run_herd
from benchmarks.idle_up import measure_idle_up
from benchmarks.latency import measure_dag_edge, measure_firing_lag, measure_idle_latency
from benchmarks.load import Load, load
from benchmarks.report import print_table, versions
from benchmarks.simulate import measure_simulate
from benchmarks.starts import measure_starts
from benchmarks.system import SLOTS, System, system
from benchmarks.tick_cost import measure_tick_cost
from benchmarks.webhooks import measure_webhooks

_OUT: Final = Path(__file__).parents[1] / "build" / "bench.json"
_QUICK: Final = 0.01
Figures = dict[str, Any]


async def _throughput(hand: Load, scale: float) -> Figures:
    count = _scaled(10_000, scale)
    await run_herd(hand, "warm-up", _scaled(1000, scale))
    herd = await run_herd(hand, "throughput", count)
    cpu_us = sum(herd.cpu_us_per_run.values())
    return {
        "throughput_runs_per_s": round(herd.firings / herd.ended_s),
        "cpu_us_per_run": herd.cpu_us_per_run,
        "throughput": {
            "runs": herd.firings,
            "seconds": round(herd.ended_s, 2),
            "slots": SLOTS,
            "foreign_cpu_percent": herd.foreign_cpu_percent,
            "runs_per_s_if_cpu_bound": round(len(os.sched_getaffinity(0)) * 1e6 / cpu_us),
        },
    }


async def _herd(hand: Load, scale: float) -> Figures:
    count = _scaled(20_000, scale)
    herd = await run_herd(hand, "herd", count)
    seconds = {"seconds": round(herd.decided_s, 2), "ended_seconds": round(herd.ended_s, 2)}
    foreign = {"foreign_cpu_percent": herd.foreign_cpu_percent}
    return {"herd": {"firings": herd.firings, **seconds, **foreign}}


async def _idle(hand: Load, scale: float) -> Figures:
    return {"idle_latency_ms": await measure_idle_latency(hand, _scaled(200, scale))}


async def _lag(hand: Load, scale: float) -> Figures:
    return {"firing_lag_ms": await measure_firing_lag(hand, _scaled(200, scale))}


async def _edge(hand: Load, scale: float) -> Figures:
    return {"dag_edge_ms": await measure_dag_edge(hand, _scaled(100, scale))}


async def _webhooks(hand: Load, scale: float) -> Figures:
    return await measure_webhooks(hand, _scaled(5000, scale))


PARTS: Final[dict[str, Callable[[Load, float], Awaitable[Figures]]]] = {
    "idle": _idle,
    "lag": _lag,
    "edge": _edge,
    "throughput": _throughput,
    "herd": _herd,
    "webhooks": _webhooks,
}


def _scaled(count: int, scale: float) -> int:
    return max(5, round(count * scale))


async def _measure(running: System, parts: list[str], scale: float) -> Figures:
    figures: Figures = {}
    async with load(running) as hand:
        for part in parts:
            print(f"measuring {part} …", flush=True)
            figures |= await PARTS[part](hand, scale)
    return figures | running.memory()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("scale", metavar="N", type=float, nargs="?", default=1.0)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--part", action="append", choices=[*PARTS, "starts", "simulate", "tick_cost", "idle-up"])
    parser.add_argument("--out", type=Path, default=_OUT)
    given = parser.parse_args()
    scale = _QUICK if given.quick else given.scale
    wanted = given.part or [*PARTS, "starts", "simulate", "tick_cost", *([] if given.quick else ["idle-up"])]
    figures: Figures = {}
    if parts := [part for part in PARTS if part in wanted]:
        with system() as running:
            figures |= asyncio.run(_measure(running, parts, scale))
    if "starts" in wanted:
        print("measuring starts …", flush=True)
        figures["start_ms"] = measure_starts(scale)
    if "simulate" in wanted:
        print("measuring simulate …", flush=True)
        figures["simulate"] = measure_simulate(scale)
    if "tick_cost" in wanted:
        print("measuring tick_cost …", flush=True)
        figures["tick_cost"] = measure_tick_cost(scale)
    if "idle-up" in wanted:
        print("measuring idle-up …", flush=True)
        figures["idle_up"] = measure_idle_up()
    figures["versions"] = versions()
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print_table(figures, given.out)


if __name__ == "__main__":
    main()
