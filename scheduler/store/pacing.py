"""Paced catch-up: missed firings wait in the ledger and are let go so many a minute, the most urgent first.

After an outage everything is due at once, and would be the next outage. What is punctual is never
held. The budget is a row, so that any number of Tickers spend it once; unspent, it grows to what one
minute gives.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from scheduler.store.queries import queries
from scheduler.store.stores import Store
from schemas.facts import FiringDue

Q: Final = queries("pacing")

_MINUTE: Final = timedelta(minutes=1)
_BATCH: Final = 1000


@dataclass(slots=True)
class Pacing:
    """The pace of one store."""

    per_minute: int
    holds: bool = True
    """Whether some firings may be held: nothing is asked of the database while not."""

    async def release(self, store: Store, *, now: datetime) -> list[FiringDue]:
        """Let go what the budget allows; the rows are committed on return. Those past their deadline misfire."""
        async with store.transaction() as db:
            start = self._unspent_since(await db.fetchval(Q["lock_budget"]), now)
            await db.execute(Q["expire_held"], now, _BATCH)
            allowed = (now - start) * self.per_minute // _MINUTE
            released = await db.fetch(Q["release_held"], allowed) if allowed > 0 else []
            await db.execute(Q["spend_budget"], start + len(released) * _MINUTE / self.per_minute, self.per_minute)
        return [FiringDue(tenant=row["tenant"], firing_id=row["id"]) for row in released]

    def _unspent_since(self, paced_until: datetime | None, now: datetime) -> datetime:
        if paced_until is None or paced_until < now - _MINUTE:
            return now - _MINUTE
        # Further ahead than a budget lasts: the clock was set back.
        return paced_until if paced_until <= now + _MINUTE else now
