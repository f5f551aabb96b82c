"""Backfills as people ask for them: which instants of a range are to run, and what became of them.

A backfill is a row with its instants and a cursor; Dispatchers release them (backfilling.py). The
ledger keeps its verdicts: an instant names its row there, if it has one, and gets a run beside it.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from scheduler.clock import Clock
from scheduler.domain.audit import AuditAction, AuditKind
from scheduler.domain.backfill import Missing, TooManyInstantsError
from scheduler.errors import ConflictError, NotFoundError
from scheduler.ids import uuid7
from scheduler.store.audit import Change, record_changes
from scheduler.store.backfill_instants import Past, Planned, find_missing
from scheduler.store.doorbell import WORK
from scheduler.store.queries import queries
from scheduler.store.stores import Store
from schemas.vocabulary import Priority, Verdict

if TYPE_CHECKING:
    from scheduler.store.pool import Connection

Q: Final = queries("backfills")
_CONTROL: Final = queries("control")
_RING: Final = queries("triggers")["ring"]
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody asks for: the planned instants of a job from ``since`` to ``until``, both included."""

    job: str
    since: datetime
    until: datetime
    again: bool = False
    """Also the instants that did start."""
    max_parallel: int = 1
    priority: Priority = Priority.BACKGROUND


@dataclass(frozen=True, slots=True)
class Instant:
    """One instant that a backfill runs."""

    fires_at: datetime
    wall_time: str
    zone: str
    trigger: str
    trigger_id: UUID
    verdict: Verdict | None
    """What the ledger says; None: no trigger had planned it."""
    firing_id: UUID | None
    job_version: int
    in_force: bool
    """False: there was no definition yet; it is the oldest."""
    params: str | None
    """JSON text of the trigger's params, to be filled."""


@dataclass(frozen=True, slots=True)
class Backfill:
    """What is to run; ``id`` is None when there is nothing, or nothing was to be written."""

    id: UUID | None
    job: str
    instants: Sequence[Instant]
    settled_until: datetime | None
    """The ledger reaches so far; later instants of the range are the clock's. None: it reaches over the range."""


async def start_backfill(store: Store, tenant: str, wanted: Wanted, *, dry_run: bool, clock: Clock) -> Backfill:
    """Find the instants to run and, unless ``dry_run``, have them run; no instant is in two open backfills.

    Without ``again`` those are the instants that did not start: misfired, merged, paused, skipped for
    overlap or superseded, and those before the job existed. Which instants there were is by the
    definition and the calendar in force then, with the triggers it had, no more than max_fires. What an earlier
    backfill has run is not run again. Instants that the ledger has not reached yet are left to the clock.

    Raises:
        NotFoundError: there is no such job.
        ConflictError: the job has no triggers by time, the range ends before it begins, or holds too many instants.
    """
    if wanted.until < wanted.since:
        raise ConflictError(f"to: {wanted.until.isoformat()} is earlier than from, which is {wanted.since.isoformat()}")
    async with store.connection() as db:
        past = await Past.read(db, tenant, wanted.job)
    try:
        planned = await asyncio.to_thread(past.plan, wanted.since, wanted.until)
    except TooManyInstantsError as error:
        raise ConflictError(f"{error}; give a shorter range") from None
    async with store.transaction() as db:
        job = await db.fetchrow(_CONTROL["lock_job"], tenant, wanted.job)
        if job is None:
            raise NotFoundError(f"there is no job {wanted.job}")
        if not past.triggers:
            raise ConflictError(f"job {wanted.job} has no triggers by time: there are no instants to run")
        missing = await find_missing(db, past, planned, again=wanted.again)
        found = sorted((_instant(*one) for one in missing), key=lambda instant: (instant.fires_at, instant.trigger))
        backfill_id = None if dry_run or not found else uuid7(clock)
        if backfill_id is not None:
            await _write(db, tenant, job["id"], backfill_id, wanted, found)
            after = {"backfill": str(backfill_id), "from": wanted.since, "to": wanted.until, "instants": len(found)}
            await record_changes(
                db, store.by, tenant, [Change(AuditAction.BACKFILL, AuditKind.JOB, wanted.job, after=after)]
            )
    reached = past.reached
    left_to_clock = reached if reached is not None and reached < wanted.until else None
    return Backfill(backfill_id, wanted.job, found, left_to_clock)


async def cancel_backfill(store: Store, tenant: str, backfill_id: UUID, *, reason: str) -> None:
    """Release nothing more of a backfill; its runs under way go on.

    Raises:
        NotFoundError: there is no such backfill.
        ConflictError: it is over, or was cancelled already.
    """
    async with store.transaction() as db:
        row = await db.fetchrow(Q["lock_backfill"], backfill_id)
        if row is None or row["tenant"] != tenant:
            await _need(db, tenant, backfill_id)
            raise ConflictError(f"backfill {backfill_id} is over")
        if not await db.fetchval(Q["cancel"], backfill_id, reason):
            raise ConflictError(f"backfill {backfill_id} was cancelled already")
        done = Change(AuditAction.CANCEL, AuditKind.BACKFILL, str(backfill_id), after={"reason": reason})
        await record_changes(db, store.by, tenant, [done])
        await db.execute(_RING, WORK, "")


async def list_backfills(store: Store, tenant: str, job: str | None, *, after: UUID | None, limit: int) -> list[Row]:
    """Return backfills with their progress, newest first."""
    async with store.connection() as db:
        return await _listed(db, tenant, job, after, None, limit)


async def get_backfill(store: Store, tenant: str, backfill_id: UUID) -> Row:
    """Return one backfill with its progress.

    Raises:
        NotFoundError: there is no such backfill.
    """
    async with store.connection() as db:
        return await _need(db, tenant, backfill_id)


async def list_instants(store: Store, tenant: str, backfill_id: UUID, *, after: int | None, limit: int) -> list[Row]:
    """Return the instants of a backfill in their order, with their runs; ``after`` is a position."""
    async with store.connection() as db:
        await _need(db, tenant, backfill_id)
        rows = await db.fetch(Q["list_instants"], backfill_id, -1 if after is None else after, limit)
        return [dict(row) for row in rows]


def _instant(part: Planned, missing: Missing) -> Instant:
    at, row = missing.at, missing.row
    return Instant(
        at.fires_at,
        at.wall_time,
        at.zone,
        part.key,
        part.trigger_id,
        row.verdict if row else None,
        row.firing_id if row else None,
        part.period.version,
        part.period.in_force,
        part.params,
    )


async def _write(
    db: "Connection", tenant: str, job_id: UUID, backfill_id: UUID, wanted: Wanted, found: Sequence[Instant]
) -> None:
    await db.execute(
        Q["insert_backfill"],
        backfill_id,
        tenant,
        job_id,
        wanted.since,
        wanted.until,
        wanted.again,
        wanted.max_parallel,
        wanted.priority.rank,
        len(found),
    )
    await db.execute(
        Q["insert_instants"],
        backfill_id,
        tenant,
        list(range(len(found))),
        [instant.trigger_id for instant in found],
        [instant.fires_at for instant in found],
        [instant.wall_time for instant in found],
        [instant.zone for instant in found],
        [instant.firing_id for instant in found],
        [instant.job_version for instant in found],
        [instant.in_force for instant in found],
        [instant.params for instant in found],
    )
    asked = {"job": wanted.job, "from": wanted.since.isoformat(), "to": wanted.until.isoformat(), "all": wanted.again}
    await db.execute(Q["insert_event"], backfill_id, tenant, asked)
    await db.execute(_RING, WORK, "")


async def _need(db: "Connection", tenant: str, backfill_id: UUID) -> Row:
    found = await _listed(db, tenant, None, None, backfill_id, 1)
    if not found:
        raise NotFoundError(f"there is no backfill {backfill_id}")
    return found[0]


async def _listed(
    db: "Connection", tenant: str, job: str | None, after: UUID | None, one: UUID | None, limit: int
) -> list[Row]:
    rows = [dict(row) for row in await db.fetch(Q["list_backfills"], tenant, job, after, one, limit)]
    runs: dict[UUID, dict[str, int]] = {}
    for backfill_id, state, count in await db.fetch(Q["count_runs"], [row["id"] for row in rows]):
        runs.setdefault(backfill_id, {})[state] = count
    partly_past = [row["id"] for row in rows if sum(runs.get(row["id"], {}).values()) < row["released"]]
    for backfill_id, state, count in await db.fetch(Q["count_past_runs"], partly_past) if partly_past else ():
        counted = runs.setdefault(backfill_id, {})
        counted[state] = counted.get(state, 0) + count
    return [row | {"state": _state(row), "runs": runs.get(row["id"], {})} | _priority(row) for row in rows]


def _priority(row: Row) -> Row:
    return {"priority": list(Priority)[row["priority"]].value}


def _state(row: Row) -> str:
    if row["cancelled_at"] is not None:
        return "cancelled" if row["finished_at"] is not None else "cancelling"
    return "running" if row["finished_at"] is None else "finished"
