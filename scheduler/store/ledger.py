"""The ledger for people: what became of each firing, how many of each kind, how late they started."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from scheduler.errors import NotFoundError
from scheduler.store.queries import queries
from scheduler.store.stores import Store

if TYPE_CHECKING:
    import asyncpg

    from scheduler.store.pool import Connection

Q: Final = queries("ledger")
Row = dict[str, Any]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LEAD: Final = timedelta(hours=1)
"""A firing is written less than this before its instant, the clocks of several nodes included."""
_GREATEST: Final = UUID(int=(1 << 128) - 1)

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
    """Return the ledger: of one job what was due latest first, of all jobs what was planned latest first.

    ``held_until`` is about when pacing lets a firing go.

    Raises:
        NotFoundError: there never was such a job; a deleted one keeps its ledger.
    """
    async with store.connection() as db:
        page = [row["id"] for row in await _page(db, tenant, which)]
        rows = [dict(row) for row in await db.fetch(Q["show_firings"], page)]
        held = [row["id"] for row in rows if row["held"]]
        until = {row["id"]: row["held_until"] for row in await db.fetch(Q["foretell_held"], held)} if held else {}
    return [
        {key: value for key, value in row.items() if key != "held"} | {"held_until": until.get(row["id"])}
        for row in rows
    ]


async def _page(db: "Connection", tenant: str, which: FiringFilter) -> "Sequence[asyncpg.Record]":
    """Return the ids of the firings to show, in their order."""
    verdicts = sorted(set(which.verdicts)) if which.verdicts else None
    least = UUID(int=0) if which.since is None else _least_id(which.since)
    if which.job is not None:
        job_id = await db.fetchval(Q["find_job"], tenant, which.job)
        if job_id is None:
            raise NotFoundError(f"there is no job {which.job}")
        bounds = (which.since, which.until, least, which.after, which.limit)
        return await db.fetch(Q["page_of_job"], job_id, *bounds, verdicts)
    bounds = (which.since, which.until, least, which.after or _GREATEST, which.limit)
    if verdicts is None:
        return await db.fetch(Q["page_of_all"], tenant, *bounds)
    return await db.fetch(Q["page_of_verdicts"], tenant, *bounds, verdicts)


def _least_id(since: datetime) -> UUID:
    """Return an id that no firing due at ``since`` or later lies below: it was planned shortly before it, or later."""
    milliseconds = (since - _LEAD - _EPOCH) // timedelta(milliseconds=1)
    return UUID(int=max(0, milliseconds) << 80)


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
