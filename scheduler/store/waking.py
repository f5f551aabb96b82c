"""What a Ticker looks at besides triggers: runs that wait for a time, and runs that come into line after it."""

from datetime import datetime
from typing import Final

from scheduler.store.doorbell import WORK
from scheduler.store.queries import queries
from scheduler.store.stores import Store
from scheduler.store.turns import enter_lines
from schemas.vocabulary import RunState

Q: Final = queries("triggers")

_BATCH: Final = 1000


async def wake_runs(store: Store) -> int:
    """Move runs whose wait is over to the backlog and ring for the Dispatchers; return how many.

    Where overlap makes runs wait for one another, they take their turn first.
    """
    woken = 0
    while True:
        async with store.transaction() as db:
            rows = await db.fetch(Q["wake_runs"], _BATCH)
            if rows:
                await db.execute(Q["ring"], WORK, "")
        entered = [(row["id"], row["job_id"]) for row in rows if row["state"] == RunState.WAITING]
        if entered:
            await enter_lines(store, entered)
        woken += len(rows)
        if len(rows) < _BATCH:
            return woken


async def find_next_tick(store: Store) -> tuple[datetime | None, float | None]:
    """Return when the next trigger is due, and in how many seconds the next run is to be woken."""
    async with store.connection() as db:
        return await db.fetchval(Q["find_next_at"]), await db.fetchval(Q["find_next_wake"])
