"""Which state of a job somebody has seen: for changes that are good only if nobody was faster."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from scheduler.store.queries import queries
from scheduler.store.stores import Store

Q: Final = queries("control")
_DEFINITIONS: Final = queries("definitions")


@dataclass(frozen=True, slots=True)
class JobRevision:
    """The definition of a job and its switches, enabled and paused; its runs are no part of it."""

    version: int
    updated_at: datetime


async def hold_job(store: Store, tenant: str, name: str) -> JobRevision | None:
    """Return the revision of a job and keep others from changing it until the transaction ends; None: no such job."""
    async with store.transaction() as db:
        await db.execute(_DEFINITIONS["lock_tenant"], tenant)
        row = await db.fetchrow(Q["lock_job"], tenant, name)
    return None if row is None else JobRevision(row["version"], row["updated_at"])
