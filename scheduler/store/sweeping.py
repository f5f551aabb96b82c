"""Finds what is owed in the rows: the part of a Dispatcher that makes lost messages harmless."""

from collections.abc import Sequence
from enum import Flag, auto
from typing import Final
from uuid import UUID

from scheduler.store.queries import queries
from scheduler.store.stores import Store
from schemas.commands import CancelAttempt

OFFERS: Final = queries("offers")
FLOWS: Final = queries("flows")


class Owed(Flag):
    """What a look at the rows found; empty when nothing is owed."""

    NOTHING = 0
    FIRINGS = auto()
    """Firings without a verdict."""
    RUNS = auto()
    """Unclaimed offers, runs past their queue timeout, DAG steps not done."""
    BACKLOG = auto()
    """Runs that are ready."""


async def find_owed(store: Store) -> Owed:
    """Look once, cheaply: three index probes."""
    async with store.connection() as db:
        row = await db.fetchrow(OFFERS["find_work"])
    owed = Owed.NOTHING
    if row is not None:
        owed |= Owed.FIRINGS if row["firings"] else Owed.NOTHING
        owed |= Owed.RUNS if row["runs"] else Owed.NOTHING
        owed |= Owed.BACKLOG if row["backlog"] else Owed.NOTHING
    return owed


async def find_owed_steps(store: Store, limit: int) -> Sequence[UUID]:
    """Return ended runs whose DAG step is overdue."""
    async with store.connection() as db:
        return [row["id"] for row in await db.fetch(FLOWS["find_owed"], limit)]


async def expire_waiting(store: Store, limit: int) -> Sequence[UUID]:
    """Fail runs nobody started in time (``timeout.queue``); return those that owe a DAG step."""
    async with store.connection() as db:
        return [row["id"] for row in await db.fetch(OFFERS["expire_waiting"], limit) if row["has_downstream"]]


async def find_cancels(store: Store, run_ids: Sequence[UUID]) -> dict[str, list[CancelAttempt]]:
    """Return, by executor, the running attempts among ``run_ids`` that are to be stopped."""
    found: dict[str, list[CancelAttempt]] = {}
    async with store.connection() as db:
        for row in await db.fetch(OFFERS["find_cancelled"], run_ids):
            cancel = CancelAttempt(
                tenant=row["tenant"], run_id=row["id"], attempt=row["attempt"], lease_token=row["lease_token"]
            )
            found.setdefault(row["executor"], []).append(cancel)
    return found
