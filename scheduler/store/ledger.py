"""The ledger for people: what became of each firing, how many of each kind, how late they started."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from scheduler.errors import NotFoundError
from scheduler.store.queries import queries
from scheduler.store.stores import Store

Q: Final = queries("ledger")
Row = dict[str, Any]

UNDECIDED: Final = "undecided"
"""What a firing without a verdict is counted and listed as."""


@dataclass(frozen=True, slots=True)
class FiringFilter:
    """Which firings to list: all where a field is None. ``after`` is the last id of the page before."""

    job: str | None = None
    verdicts: Sequence[str] | None = None
    since: datetime | None = None
    """Included."""
    until: datetime | None = None
    """Not included."""
    after: UUID | None = None
    limit: int = 50


async def list_firings(store: Store, tenant: str, which: FiringFilter) -> list[Row]:
    """Return the ledger, newest rows first. ``held_until`` is about when pacing lets a firing go.

    Raises:
        NotFoundError: there never was such a job; a deleted one keeps its ledger.
    """
    verdicts = list(which.verdicts) if which.verdicts else None
    async with store.connection() as db:
        rows = await db.fetch(
            Q["list_firings"], tenant, which.job, verdicts, which.since, which.until, which.after, which.limit
        )
    if not rows:
        await _check_job(store, tenant, which.job)
    return [dict(row) for row in rows]


async def count_verdicts(store: Store, tenant: str, job: str | None, *, since: datetime, until: datetime) -> list[Row]:
    """Return for each trigger with rows that begin in [since, until) how many firings got which verdict."""
    async with store.connection() as db:
        rows = await db.fetch(Q["count_verdicts"], tenant, job, since, until)
    if not rows:
        await _check_job(store, tenant, job)
    counted: dict[tuple[str, str], Row] = {}
    for row in rows:
        trigger = row["trigger"] or row["kind"]
        entry = {"job": row["job"], "trigger": trigger, "verdicts": {}}
        verdicts = counted.setdefault((row["job"], trigger), entry)["verdicts"]
        verdicts[row["verdict"]] = verdicts.get(row["verdict"], 0) + row["count"]
    return list(counted.values())


async def measure_lateness(
    store: Store, tenant: str, job: str | None, *, since: datetime, until: datetime
) -> list[Row]:
    """Return for each job how late the firings of [since, until) were first claimed: p50, p99 and max, seconds."""
    async with store.connection() as db:
        return [dict(row) for row in await db.fetch(Q["measure_lateness"], tenant, job, since, until)]


async def _check_job(store: Store, tenant: str, job: str | None) -> None:
    if job is None:
        return
    async with store.connection() as db:
        if await db.fetchval(Q["find_job"], tenant, job) is None:
            raise NotFoundError(f"there is no job {job}")
