"""How long an executor takes to start a job in a process: from its order to the job's own first look at a clock."""

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from benchmarks.load import BenchmarkError, percentiles
from schemas.vocabulary import Outcome
from tests.support.attempts import Place, a_place, command, python

_STARTS: Final = 200
_MODULE: Final = "import time\ndef look(): return time.time()\n"
_WARM_UP: Final = 3
"""Starts that are not counted: the launcher and the first Python process begin with them."""


def measure_starts(scale: float) -> dict[str, Any]:
    """Start a command, and a python function in a process that waits, one after another and so many times."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_measure(Path(folder), max(10, round(_STARTS * scale))))


async def _measure(root: Path, count: int) -> dict[str, Any]:
    async with a_place(root) as place:
        (place.code_dir / "clock.py").write_text(_MODULE, encoding="utf-8")
        commands = percentiles([await _command(place) for _ in range(_WARM_UP + count)][_WARM_UP:])
        functions = percentiles([await _function(place) for _ in range(_WARM_UP + count)][_WARM_UP:])
    return {
        **{f"command_{name}": value for name, value in commands.items()},
        **{f"warm_python_{name}": value for name, value in functions.items()},
    }


async def _command(place: Place) -> float:
    order = command("date", "+%s.%N")
    since = time.time()
    ended = await place.run(order)
    if ended.outcome is not Outcome.SUCCEEDED or ended.output is None:
        raise BenchmarkError(f"the command ended otherwise: {ended.reason}")
    return float(ended.output.head) - since


async def _function(place: Place) -> float:
    order = python("clock:look")
    since = time.time()
    ended = await place.run(order)
    if not isinstance(ended.result, float):
        raise BenchmarkError(f"the function ended otherwise: {ended.reason}")
    return ended.result - since
