"""What a Ticker looks at besides triggers: runs that wait for a time, and runs that come into line after it."""

from datetime import datetime
from typing import Final, NamedTuple

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
        async with store.transaction(flush=False) as db:
            rows = await db.fetch(Q["wake_runs"], _BATCH)
            if rows:
                await db.execute(Q["ring"], WORK, "")
        entered = [(row["id"], row["job_id"]) for row in rows if row["state"] == RunState.WAITING]
        if entered:
            await enter_lines(store, entered)
        woken += len(rows)
        if len(rows) < _BATCH:
            return woken


class NextTick(NamedTuple):
    """What to wake up for; None: nothing."""

    at: datetime | None
    """When the next trigger is due."""
    wake_s: float | None
    """In how many seconds the next run is to be woken."""
    holds: bool
    """Whether missed firings are held by pacing."""
    crowd: int
    """How many triggers are due until the instant that was asked about."""
    undecided: bool
    """Whether nobody decides what is planned."""


async def find_next_tick(store: Store, until: datetime) -> NextTick:
    """Look what comes next, and how much of it until ``until``: probes of partial indexes, whatever is stored."""
    async with store.connection() as db:
        row = await db.fetchrow(Q["find_next_at"], until)
        wake_s = await db.fetchval(Q["find_next_wake"])
    if row is None:
        return NextTick(None, wake_s, holds=False, crowd=0, undecided=False)
    return NextTick(row["next_at"], wake_s, row["holds"], row["crowd"], row["undecided"])
