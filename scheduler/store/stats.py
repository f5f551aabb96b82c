"""Statistics: what waits and runs in each pool now, and how the runs of each job went."""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from scheduler.store.queries import queries
from scheduler.store.stores import Store

Q: Final = queries("stats")
Row = dict[str, Any]


async def count_pools(store: Store, tenant: str, *, lease_s: float) -> list[Row]:
    """Return for each pool its live slots and how many runs of ``tenant`` wait and run there, and how long at most.

    ``lease_s`` is how long an executor may be silent.
    """
    async with store.connection() as db:
        return [dict(row) for row in await db.fetch(Q["count_pools"], lease_s, tenant)]


async def measure_jobs(
    store: Store, tenant: str, *, since: datetime, job: str | None = None, newest: int | None = None
) -> list[Row]:
    """Return for each job how its runs made after ``since`` ended, and seconds: of their last attempts, and of waits.

    ``success_rate`` leaves out what was cancelled or skipped; it is None when nothing else ended. With ``newest`` only
    so many runs are looked at, the newest of each job alike, at least ten; ``complete`` says where that was all.
    """
    first = UUID(int=int(since.timestamp() * 1000) << 80)
    async with store.connection() as db:
        return [dict(row) for row in await db.fetch(Q["measure_jobs"], tenant, first, job, newest)]
