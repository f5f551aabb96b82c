"""Statistics: what waits and runs in each pool now, and how the runs of each job and pool went."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from scheduler.store.queries import queries
from scheduler.store.stores import Store

Q: Final = queries("stats")
_MEASURES: Final = ("runs", "succeeded", "failed", "success_rate", "mean_s", "p95_s", "p95_wait_s")
_NONE: Final = dict.fromkeys(_MEASURES) | {"runs": 0, "succeeded": 0, "failed": 0}
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Measured:
    """How runs went: counts, and seconds of their last attempts, and of waits.

    ``success_rate`` leaves out what was cancelled or skipped; it is None when nothing else ended.
    """

    jobs: Sequence[Row]
    """By job; ``complete`` is false where only its newest runs were looked at."""
    pools: Sequence[Row]

    def beside(self, counted: Iterable[Row]) -> list[Row]:
        """Return the rows of ``count_pools``, each with how the runs of its pool went."""
        went = {row["pool"]: {name: row[name] for name in _MEASURES} for row in self.pools}
        return [row | went.get(row["pool"], _NONE) for row in counted]


async def count_pools(store: Store, tenant: str, *, lease_s: float) -> list[Row]:
    """Return for each pool its live slots and how many runs of ``tenant`` wait and run there, and how long at most.

    ``lease_s`` is how long an executor may be silent.
    """
    async with store.connection() as db:
        return [dict(row) for row in await db.fetch(Q["count_pools"], lease_s, tenant)]


async def measure_runs(
    store: Store, tenant: str, *, since: datetime, job: str | None = None, newest: int | None = None
) -> Measured:
    """Return how runs made after ``since`` went that have ended.

    With ``newest`` only so many are looked at, the newest of each job alike, at least ten.
    """
    first = UUID(int=int(since.timestamp() * 1000) << 80)
    async with store.connection() as db:
        rows = [dict(row) for row in await db.fetch(Q["measure_runs"], tenant, first, job, newest)]
    return Measured([row for row in rows if row["job"] is not None], [row for row in rows if row["job"] is None])
