"""The handlers that benchmark jobs run, loaded by the executor as a user's module would be."""

import os
import time
from pathlib import Path
from typing import Any, Final

from scheduler.handlers import HandlerContext, handler

ENTRIES: Final = "BENCH_ENTRIES"
"""Environment variable: the file that ``enter`` adds a line to."""
_file: Final = os.open(Path(os.environ.get(ENTRIES, os.devnull)), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


@handler("noop")
async def noop(ctx: HandlerContext, params: dict[str, Any]) -> None:
    """Do nothing: what is left is the scheduler's own cost."""


@handler("enter")
async def enter(ctx: HandlerContext, params: dict[str, Any]) -> None:
    """Note when this handler was entered, by the wall clock of the machine, in one write."""
    now = time.time()
    fired_at = ctx.fired_at.timestamp() if ctx.fired_at is not None else 0.0
    os.write(_file, f"{ctx.job} {ctx.flow_id} {now:.6f} {fired_at:.6f}\n".encode())
