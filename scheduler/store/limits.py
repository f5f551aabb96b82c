"""Limits that runs share over all executors: concurrency keys and rates. Counted from rows, each time anew.

What holds a place is a run that is queued or running, so that no place can leak: its end, its
return and the loss of its executor change the row. One transaction at a time counts and offers.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final
from uuid import UUID

from scheduler.store.catalogue import Catalogue
from scheduler.store.queries import queries

if TYPE_CHECKING:
    import asyncpg

    from scheduler.store.pool import Connection

Q: Final = queries("limits")
_BEGINNING: Final = ("", "")


class Limits:
    """Finds the runs of one store that are within their limits."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._ends: dict[str, tuple[str, str]] = {}
        """Where the last look at a pool ended that did not see all of its lines."""

    async def find_free(self, db: "Connection", pool: str, most: int, blocked: Iterable[UUID]) -> Sequence[UUID]:
        """Return runs of the backlog of ``pool`` that may be offered in this transaction, at most ``most``.

        None when another transaction is at it: those runs are left to the next fill.
        """
        if not await db.fetchval(Q["take_turn"]):
            return ()
        rates = self._rates()
        tokens = await db.fetch(Q["count_tokens"], list(rates), list(rates.values())) if rates else []
        out = {row["job_id"] for row in tokens if row["tokens"] == 0}
        found = await db.fetchrow(
            Q["list_free"],
            pool,
            most,
            list(out.union(blocked)),
            [row["job_id"] for row in tokens],
            [row["tokens"] for row in tokens],
            *self._ends.pop(pool, _BEGINNING),
        )
        if found is None:
            return ()
        if found["more"]:
            self._ends[pool] = (found["tenant"], found["limit_key"])
        runs: Sequence[UUID] = found["runs"]
        return runs

    async def spend(self, db: "Connection", offered: Sequence["asyncpg.Record"]) -> None:
        """Count the runs that have been offered against the rates of their jobs."""
        rates = self._rates()
        spent = Counter(row["job_id"] for row in offered if row["job_id"] in rates)
        if spent:
            every = [rates[job_id] for job_id in spent]
            await db.execute(Q["spend_tokens"], list(spent), every, list(spent.values()))

    def _rates(self) -> Mapping[UUID, float]:
        """Return the seconds between two starts of each job that has a rate, over all tenants."""
        return {job_id: every for jobs in self._catalogue.loaded.values() for job_id, every in jobs.rates.items()}
