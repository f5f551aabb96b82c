"""Finds what is owed in the rows: the part of a Dispatcher that makes lost messages harmless."""

from collections.abc import Awaitable, Callable, Sequence
from enum import Flag, auto
from typing import Final, NamedTuple
from uuid import UUID

import structlog

from scheduler.errors import TransientError
from scheduler.store.queries import queries
from scheduler.store.stores import Store
from schemas.commands import CancelAttempt

log: structlog.stdlib.BoundLogger = structlog.get_logger()

Q: Final = queries("sweeping")


class Found(NamedTuple):
    """What a look at the rows found."""

    owed: "Owed"
    next_s: float | None
    """Seconds until the next firing has to be found; None: that is further off than the next look."""


class Owed(Flag):
    """What a look at the rows found; empty when nothing is owed."""

    NOTHING = 0
    FIRINGS = auto()
    """Firings without a verdict."""
    EVENTS = auto()
    """Events without a verdict."""
    RUNS = auto()
    """Unclaimed offers, runs past their queue timeout, DAG steps not done."""
    BACKLOG = auto()
    """Runs that are ready."""
    BACKFILLS = auto()
    """Backfills that nobody has looked at for a while."""


async def find_owed(store: Store) -> Found:
    """Look once, cheaply: a few index probes."""
    async with store.connection() as db:
        row = await db.fetchrow(Q["find_work"])
    owed = Owed.NOTHING
    if row is not None:
        owed |= Owed.FIRINGS if row["firings"] else Owed.NOTHING
        owed |= Owed.EVENTS if row["events"] else Owed.NOTHING
        owed |= Owed.RUNS if row["runs"] else Owed.NOTHING
        owed |= Owed.BACKLOG if row["backlog"] else Owed.NOTHING
        owed |= Owed.BACKFILLS if row["backfills"] else Owed.NOTHING
    return Found(owed, None if row is None else row["next_s"])


async def spare(
    ids: Sequence[UUID], do: Callable[[Sequence[UUID]], Awaitable[object]], postpone: Callable[[UUID], Awaitable[None]]
) -> None:
    """Do what is owed for ``ids``, in halves as far as it fails; the single ones that cannot be done are postponed.

    Raises:
        TransientError: the world is unwell; nothing is blamed on a row.
    """
    try:
        await do(ids)
    except TransientError:
        raise
    except Exception as error:
        middle = len(ids) // 2
        if middle:
            await spare(ids[:middle], do, postpone)
            await spare(ids[middle:], do, postpone)
        else:
            log.exception("sweep.postponed", id=str(ids[0]), error=f"{type(error).__name__}: {error}")
            await postpone(ids[0])


async def find_forgotten(store: Store, limit: int) -> Sequence[UUID]:
    """Return firings without a verdict whose message is overdue."""
    async with store.connection() as db:
        return [row["id"] for row in await db.fetch(Q["find_forgotten"], limit)]


async def postpone_firing(store: Store, firing_id: UUID) -> None:
    """Look at a firing that cannot be decided again when it is twice as old, at most an hour from now."""
    async with store.connection() as db:
        await db.execute(Q["postpone_firing"], firing_id)


async def find_owed_steps(store: Store, limit: int) -> Sequence[UUID]:
    """Return ended runs whose DAG step is overdue."""
    async with store.connection() as db:
        return [row["id"] for row in await db.fetch(Q["find_owed_steps"], limit)]


async def postpone_step(store: Store, run_id: UUID) -> None:
    """Look at a DAG step that cannot be done again after as long as its run is over, at most an hour from now."""
    async with store.connection() as db:
        await db.execute(Q["postpone_step"], run_id)


async def expire_waiting(store: Store, limit: int) -> int:
    """Fail runs nobody started in time (``timeout.queue``), ``limit`` in a transaction; return how many.

    Those that owe a DAG step are due for ``find_owed_steps`` at once.
    """
    expired = 0
    while True:
        async with store.connection() as db:
            found = len(await db.fetch(Q["expire_waiting"], limit))
        expired += found
        if found < limit:
            return expired


async def find_cancels(store: Store, run_ids: Sequence[UUID]) -> dict[str, list[CancelAttempt]]:
    """Return, by executor, the running attempts among ``run_ids`` that are to be stopped."""
    found: dict[str, list[CancelAttempt]] = {}
    async with store.connection() as db:
        for row in await db.fetch(Q["find_cancelled"], run_ids):
            cancel = CancelAttempt(
                tenant=row["tenant"],
                run_id=row["id"],
                attempt=row["attempt"],
                lease_token=row["lease_token"],
                at_once=row["cancel_at_once"],
            )
            found.setdefault(row["executor"], []).append(cancel)
    return found
