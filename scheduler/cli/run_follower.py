"""Follows the runs of a session at a cost that depends on what happens, not on how much is stored."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from scheduler.clock import Clock
from scheduler.store.reading import Row, list_new_runs
from scheduler.store.stores import Store

_LATE_COMMITS: Final = timedelta(seconds=10)
"""Run ids grow with the time they were made, but a transaction may commit this much later."""


class RunFollower:
    """Runs made since it was made; ``counts`` is how many stand in each state."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._first = _id_at(clock.now())
        self._horizon = self._first
        self._open: dict[UUID, str] = {}
        self._ended: dict[UUID, str] = {}
        self.counts: Counter[str] = Counter()

    async def poll(self, store: Store) -> Sequence[Row]:
        """Return the runs that moved to another state since the last look, oldest first."""
        looked_at = self._clock.now()
        moved = [row for row in await list_new_runs(store, self._horizon, list(self._open)) if self._moves(row)]
        self._horizon = max(self._first, _id_at(looked_at - _LATE_COMMITS))
        self._ended = {run: state for run, state in self._ended.items() if run > self._horizon}
        return moved

    def _moves(self, row: Row) -> bool:
        run, state = row["id"], row["state"]
        before = self._open.get(run) or self._ended.get(run)
        if before == state:
            return False
        if before is not None:
            self.counts[before] -= 1
        self.counts[state] += 1
        if row["finished_at"] is None:
            self._open[run] = state
        else:
            self._open.pop(run, None)
            self._ended[run] = state
        return True


def _id_at(instant: datetime) -> UUID:
    """Return the smallest id of that millisecond."""
    return UUID(int=int(instant.timestamp() * 1000) << 80)
