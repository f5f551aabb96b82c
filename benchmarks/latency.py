"""Latencies on the idle system, by the clock of the one machine all processes share."""

import asyncio
import time
from itertools import pairwise
from typing import Any, Final

from benchmarks.load import BenchmarkError, Load, percentiles

_ENTER: Final[dict[str, Any]] = {"run": {"handler": "enter"}}
_PAUSE_S: Final = 0.05


async def measure_idle_latency(load: Load, count: int) -> dict[str, float]:
    """From just before ``scheduler trigger`` writes its rows to the handler's entry, one at a time."""
    await load.apply("idle", {"idle": _ENTER})
    await load.warm("idle", "idle")
    asked = []
    for done in range(1, count + 1):
        await asyncio.sleep(_PAUSE_S)
        asked.append(time.time())
        await load.trigger("idle", "idle")
        await load.entries(1 + done, "idle ")
    entered = [entry.at for entry in await load.entries(1 + count, "idle ")][1:]
    return percentiles([at - since for at, since in zip(entered, asked, strict=True)])


async def measure_firing_lag(load: Load, count: int) -> dict[str, float]:
    """From the due instant of a trigger that fires ten times a second to the handler's entry."""
    every = {"every": "100ms", "max_fires": count}
    await load.apply("lag", {"lag": {**_ENTER, "triggers": [every], "overlap": "allow", "catch_up": {"policy": "all"}}})
    entries = await load.entries(count, "lag ")
    return percentiles([entry.at - entry.fired_at for entry in entries])


async def measure_dag_edge(load: Load, count: int) -> dict[str, float]:
    """From the parent's handler, which ends as it is entered, to the entry of its child's."""
    await load.apply("edge", {"edge-parent": _ENTER, "edge-child": {**_ENTER, "needs": ["edge-parent"]}})
    await load.warm("edge", "edge-parent")
    for done in range(1, count + 1):
        await asyncio.sleep(_PAUSE_S)
        await load.trigger("edge", "edge-parent")
        await load.entries(2 * (1 + done), "edge-")
    edges = []
    for parent, child in list(pairwise(await load.entries(2 * (1 + count), "edge-")))[2::2]:
        if (parent.job, child.job, parent.flow) != ("edge-parent", "edge-child", child.flow):
            raise BenchmarkError(f"{parent} and {child} are no parent and child")
        edges.append(child.at - parent.at)
    return percentiles(edges)
