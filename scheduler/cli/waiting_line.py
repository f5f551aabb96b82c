"""``scheduler trigger --wait`` on a terminal: one line on standard error that says what is waited for."""

import asyncio
import shutil
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final
from uuid import UUID

from scheduler.cli.following import progress_text
from scheduler.logs import printable
from scheduler.store.waiting import is_over, list_progress

if TYPE_CHECKING:
    from scheduler.clock import Clock
    from scheduler.store.reading import Row
    from scheduler.store.stores import Store

_DRAW_S: Final = 1.0
_MOST_NAMED: Final = 3


@asynccontextmanager
async def waiting_line(store: "Store", count: int, seen: Mapping[UUID, "Row"], clock: "Clock") -> AsyncIterator[None]:
    """Keep the line up to date while ``count`` firings are waited for; ``seen`` is what is known of them.

    Does nothing where standard error is no terminal. The line is gone afterwards.
    """
    if not sys.stderr.isatty():
        yield
        return
    drawing = asyncio.create_task(_draw(store, count, seen, clock), name="waiting line")
    try:
        yield
    finally:
        drawing.cancel()
        await asyncio.gather(drawing, return_exceptions=True)
        _write("")


def waiting_text(count: int, seen: Mapping[UUID, "Row"], progress: Mapping[UUID, "Row"]) -> str:
    """Return what is waited for: ``1 of 3 over; 2 running; copy: 3 of 10 (30 %)``. ``progress`` is by run."""
    going_on = [row for row in seen.values() if not is_over(row)]
    states = Counter(row["state"] or "asked for" for row in going_on)
    parts = [f"{count - len(going_on)} of {count} over"] if count > 1 else []
    parts += [f"{number} {state}" if count > 1 else state for state, number in states.items()]
    told = [row for row in going_on if row["run_id"] in progress]
    parts += [f"{row['job']}: {progress_text(progress[row['run_id']])}" for row in told[:_MOST_NAMED]]
    return "; ".join(parts)


async def _draw(store: "Store", count: int, seen: Mapping[UUID, "Row"], clock: "Clock") -> None:
    while True:
        running = [row["run_id"] for row in seen.values() if row["state"] == "running"]
        progress = await list_progress(store, running) if running else {}
        _write(waiting_text(count, seen, progress) if seen else "")
        await clock.sleep(_DRAW_S)


def _write(text: str) -> None:
    sys.stderr.write(f"\r\x1b[K{printable(text)[: shutil.get_terminal_size().columns - 1]}")
    sys.stderr.flush()
