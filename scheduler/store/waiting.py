"""Waits until firings have their verdicts, and the runs they started their ends."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from scheduler.clock import Clock
from scheduler.domain.run_state import FINAL
from scheduler.store.queries import queries
from scheduler.store.reading import Row, list_verdicts
from scheduler.store.stores import Store
from schemas.vocabulary import Verdict

_TELLING: Final = queries("telling")
_LOOK_S: Final = 0.05
_SLOWEST_LOOK_S: Final = 1.0


async def wait_for_ends(store: Store, firing_ids: Sequence[UUID], seen: dict[UUID, Row], clock: Clock) -> None:
    """Return when all is over; ``seen`` holds what is known so far, also when the caller gives up."""
    pause_s = _LOOK_S
    while True:
        seen.update(await list_verdicts(store, firing_ids))
        if all(is_over(row) for row in seen.values()):
            return
        await clock.sleep(pause_s)
        pause_s = min(pause_s * 1.2, _SLOWEST_LOOK_S)


async def list_progress(store: Store, run_ids: Sequence[UUID]) -> dict[UUID, Row]:
    """Return, by run, how far running ones say that they are: ``done``, ``total``, ``message``."""
    async with store.connection() as db:
        return {row["run_id"]: dict(row) for row in await db.fetch(_TELLING["list_progress"], run_ids)}


def is_over(row: Row) -> bool:
    """Whether nothing more comes of a firing: its run, or the one that it joined, has ended, or it has none."""
    if row["verdict"] in {Verdict.STARTED, Verdict.JOINED}:
        return row["state"] in FINAL
    return row["verdict"] is not None
