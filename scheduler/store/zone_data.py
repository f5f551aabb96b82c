"""Zone data of several versions: the newest Ticker plans, and computes anew what others have computed.

A trigger stores the version of the data that computed its ``next_at``, a firing that of its instant; the
row of ``ticking`` says which data computed all triggers, and is marked by whoever writes by other data.
A Ticker with older data than another that is alive stands aside: the two do not undo each other's work.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog

from scheduler.domain.planned import MICROSECOND, Schedule
from scheduler.domain.zones import TZDATA_VERSION
from scheduler.store.doorbell import WAKE
from scheduler.store.queries import columns, queries
from scheduler.store.rules import Rules
from scheduler.store.stores import Store

if TYPE_CHECKING:
    import asyncpg

    from scheduler.store.pool import Connection

log: structlog.stdlib.BoundLogger = structlog.get_logger()

Q: Final = queries("zone_data")
_RING: Final = queries("triggers")["ring"]

BEAT_S: Final = 10.0
"""How often a Ticker says that it is alive."""
ALIVE_S: Final = 30.0
"""One not heard of for so long does not count any more."""
_BATCH: Final = 500


class ZoneData:
    """What one Ticker with one version of the zone data does about others in one store."""

    def __init__(self, ticker_id: UUID, version: str = TZDATA_VERSION) -> None:
        self._id = ticker_id
        self._version = version
        self._newest = version
        self.outdated = False
        """Whether other data have computed some of what is stored, as of the last beat."""

    @property
    def stands_aside(self) -> bool:
        """Whether another Ticker plans by newer data."""
        return self._newest > self._version

    async def beat(self, store: Store) -> None:
        """Say that this Ticker is alive, and look which data the others have; warn when that changes something."""
        before = self.stands_aside
        async with store.transaction() as db:
            await db.execute(Q["record_ticker"], self._id, self._version)
            seen = await db.fetchrow(Q["look_around"], ALIVE_S)
            self._newest = self._version if seen is None else seen["newest"]
            self.outdated = seen is not None and seen["stored"] != self._version and not self.stands_aside
            if self.stands_aside and not before:  # what it has planned since the other came
                await db.execute(Q["mark_mixed"], self._version)
        if self.stands_aside and not before:
            log.warning("ticker.stood_aside", zone_data=self._version, newer=self._newest, store=store.name)
        elif before and not self.stands_aside:
            log.warning("ticker.took_over", zone_data=self._version, store=store.name)

    async def leave(self, store: Store) -> None:
        async with store.connection() as db:
            await db.execute(Q["forget_tickers"], self._id)

    async def recompute(self, store: Store, rules: Rules, *, now: datetime) -> int:
        """Compute every ``next_at`` anew that other data have computed; return how many there were.

        Each goes on from its last row in the ledger, so that nothing is lost that these data place
        earlier; but a wall time that has one of its last ten rows gets no second one because the data
        moved it. What the others have written down ahead of ``now``, and nobody has decided, is taken
        back. What is due then is left to the tick, which is woken.
        """
        under_way = f"{self._version}, under way"
        after, count, batch = UUID(int=0), 0, _BATCH
        async with store.connection() as db:
            await db.execute(Q["mark"], under_way)
        while batch == _BATCH:
            async with store.transaction() as db:
                held = await self._lock(db, after, now)
                await rules.learn(db, held)
                moved = [(row["id"], *_moved(row, rules)) for row in held if row["next_at"] is not None]
                if moved:
                    await db.execute(Q["recompute"], *columns(moved), self._version)
            batch = len(held)
            after = held[-1]["id"] if held else after
            count += len(moved)
        async with store.connection() as db:
            await db.execute(Q["mark_done"], self._version, under_way)
            await db.execute(_RING, WAKE, "")
        self.outdated = False
        log.info("triggers.recomputed", triggers=count, zone_data=self._version, store=store.name)
        return count

    async def _lock(self, db: "Connection", after: UUID, now: datetime) -> "list[asyncpg.Record]":
        """Lock some triggers that other data have computed, without what was written down of them ahead."""
        which = (self._version, _BATCH, after, now)
        held = await db.fetch(Q["lock_outdated"], *which)
        ahead = [row["id"] for row in held if row["last_at"] > now]
        taken = await db.fetch(Q["take_back"], ahead, now) if ahead else ()
        return await db.fetch(Q["lock_outdated"], *which) if taken else held


def _moved(row: "asyncpg.Record", rules: Rules) -> tuple[datetime, datetime | None]:
    """Return the new cursor and the new next instant of a trigger."""
    rule = rules.of(row)
    if rule is None or row["trouble"] is not None:  # the tick tries it again, and plans what it missed
        return row["last_at"], row["next_at"]
    ledger = dict(row["ledger"])
    since = row["last_at"]
    at = rule.schedule.next_after(since)
    while at is not None and at.wall_time in ledger and _was_moved(rule.schedule, ledger[at.wall_time]):
        since = at.fires_at
        at = rule.schedule.next_after(since)
    return since, None if at is None else at.fires_at


def _was_moved(schedule: Schedule, fires_at: datetime) -> bool:
    """Whether an instant of the ledger is none of the schedule by these data; else a wall time is one that repeats."""
    at = schedule.next_after(fires_at - MICROSECOND)
    return at is None or at.fires_at != fires_at
