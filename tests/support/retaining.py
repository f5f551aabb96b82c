"""A database whose history is worked on as the Ticker's role does it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import time, timedelta
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import asyncpg

from scheduler.clock import SystemClock
from scheduler.domain.retention import RetentionSettings
from scheduler.roles import ACTOR_ROLES
from scheduler.store.pool import connect
from scheduler.store.retaining import Done, retain
from scheduler.store.roles import as_role
from scheduler.store.stores import Stores
from schemas.vocabulary import RunState

WEEK: Final = timedelta(days=7)
QUARTER: Final = timedelta(days=90)
SPANS: Final = {
    RunState.SUCCEEDED: WEEK,
    RunState.FAILED: QUARTER,
    RunState.CANCELLED: QUARTER,
    RunState.SKIPPED: WEEK,
}


def plan(archive: Path | None = None, *, compress: bool = True) -> RetentionSettings:
    return RetentionSettings(SPANS, QUARTER, timedelta(hours=1), time(2), ZoneInfo("UTC"), archive, compress)


class Kept:
    """``ticker`` works as the role, ``owner`` as commands do; ``db`` is a connection of the test's own."""

    def __init__(self, ticker: Stores, owner: Stores, db: "asyncpg.Connection[asyncpg.Record]") -> None:
        self.ticker = ticker
        self.owner = owner
        self.db = db

    async def retain(self, archive: Path | None = None, *, compress: bool = True) -> Done:
        done = await retain(self.ticker.main, plan(archive, compress=compress), SystemClock(), asked=True)
        assert done is not None
        return done

    async def classes(self) -> dict[int, int]:
        """Return how many runs each class holds."""
        return {
            row["class"]: row["count"]
            for row in await self.db.fetch("SELECT class, count(*) FROM past_runs GROUP BY class ORDER BY class")
        }


@asynccontextmanager
async def opened(database_url: str) -> AsyncIterator[Kept]:
    db = await connect(database_url, name="test")
    ticker = await Stores.open(as_role(database_url, ACTOR_ROLES["ticker"]), name="ticker")
    owner = await Stores.open(database_url, name="cli")
    try:
        yield Kept(ticker, owner, db)
    finally:
        await owner.close()
        await ticker.close()
        await db.close()
