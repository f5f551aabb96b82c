"""Says which firings were missed, and are too late to run."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import structlog

from scheduler.store.queries import queries
from scheduler.store.stores import Store

if TYPE_CHECKING:
    from scheduler.store.planning import Missed

log: structlog.stdlib.BoundLogger = structlog.get_logger()

Q: Final = queries("triggers")


async def say_missed(store: Store, missed: Sequence["Missed"]) -> None:
    """Write a warning for each stretch of misfired instants, after the commit that wrote them down."""
    if not missed:
        return
    async with store.connection() as db:
        rows = await db.fetch(Q["list_job_names"], list({row["job_id"] for row, _ in missed}))
    names = {row["id"]: row["name"] for row in rows}
    for row, firing in missed:
        log.warning(
            "firings.misfired",
            tenant=row["tenant"],
            job_id=names.get(row["job_id"]),
            trigger_id=str(row["id"]),
            count=firing.count,
            fires_at=firing.fires_at.isoformat(),
            to_at=None if firing.to_at is None else firing.to_at.isoformat(),
            reason=firing.reason,
        )
