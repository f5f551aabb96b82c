"""Backfills as people ask for them: which instants of a range are to run, and what became of them.

A backfill is a row with its instants and a cursor; Dispatchers release them (backfilling.py). The
ledger keeps its verdicts: an instant names its row there, if it has one, and gets a run beside it.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from scheduler.clock import Clock
from scheduler.domain.backfill import (
    MOST_INSTANTS,
    Ledger,
    LedgerRow,
    Missing,
    TooManyInstantsError,
    select,
    version_at,
    walk,
)
from scheduler.domain.planned import PlannedInstant, Schedule
from scheduler.errors import ConflictError, NotFoundError
from scheduler.ids import uuid7
from scheduler.store.catalogue import Catalogue
from scheduler.store.doorbell import WORK
from scheduler.store.pool import json_text
from scheduler.store.queries import queries
from scheduler.store.rules import Rules
from scheduler.store.stores import Store
from schemas.job_spec import JobSpec
from schemas.vocabulary import Priority, Verdict

if TYPE_CHECKING:
    import asyncpg

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
    overlap or superseded, and those before the trigger existed. What an earlier backfill has run is
    not run again. Instants that the ledger has not reached yet are left to the clock.

    Raises:
        NotFoundError: there is no such job.
        ConflictError: the job has no triggers, the range ends before it begins, or holds too many instants.
    """
    if wanted.until < wanted.since:
        raise ConflictError("the range ends before it begins")
    async with store.connection() as db:
        triggers = await db.fetch(Q["list_triggers"], tenant, wanted.job)
        rules = Rules()
        await rules.learn(db, triggers)
    schedules = [(row, rule.schedule, rule.params) for row in triggers if (rule := rules.of(row)) is not None]
    try:
        walked = await asyncio.to_thread(_walk, [(row["last_at"], schedule) for row, schedule, _ in schedules], wanted)
    except TooManyInstantsError as error:
        raise ConflictError(f"{error}; give a shorter range") from None
    async with store.transaction() as db:
        job = await db.fetchrow(_CONTROL["lock_job"], tenant, wanted.job)
        if job is None:
            raise NotFoundError(f"there is no job {wanted.job}")
        if not schedules:
            raise ConflictError(f"job {wanted.job} has no triggers: there are no instants to run")
        sources = [(row, params, instants) for (row, _, params), instants in zip(schedules, walked, strict=True)]
        found = await _select(db, job["id"], wanted, sources)
        backfill_id = None if dry_run or not found else uuid7(clock)
        if backfill_id is not None:
            await _write(db, tenant, job["id"], backfill_id, wanted, found)
    reached = min(row["last_at"] for row, _, _ in schedules)
    return Backfill(backfill_id, wanted.job, found, reached if reached < wanted.until else None)


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


def _walk(schedules: Iterable[tuple[datetime, Schedule]], wanted: Wanted) -> list[list[PlannedInstant]]:
    """Return the instants of each schedule, as far as the ledger of its trigger reaches."""
    found: list[list[PlannedInstant]] = []
    left = MOST_INSTANTS
    for reached, schedule in schedules:
        found.append(walk(schedule, wanted.since, min(wanted.until, reached), left))
        left -= len(found[-1])
    return found


async def _select(
    db: "Connection",
    job_id: UUID,
    wanted: Wanted,
    sources: Sequence[tuple["asyncpg.Record", str | None, list[PlannedInstant]]],
) -> list[Instant]:
    ids = [row["id"] for row, _, _ in sources]
    rows: dict[UUID, list[LedgerRow]] = {}
    for firing in await db.fetch(Q["list_ledger"], ids, wanted.since, wanted.until):
        verdict = None if firing["verdict"] is None else Verdict(firing["verdict"])
        ledger_row = LedgerRow(firing["id"], firing["fires_at"], firing["to_at"], firing["wall_time"], verdict)
        rows.setdefault(firing["trigger_id"], []).append(ledger_row)
    for of_trigger in rows.values():
        of_trigger.sort(key=lambda row: row.fires_at)
    taken: dict[UUID, set[tuple[datetime, str]]] = {}
    for trigger_id, at, wall in await db.fetch(Q["list_taken"], ids, wanted.since, wanted.until, not wanted.again):
        taken.setdefault(trigger_id, set()).add((at, wall))
    applied = await db.fetch(Q["list_versions"], [job_id])
    versions = [(row["applied_at"], row["version"]) for row in applied]
    specs = await Catalogue().versions(db, [(job_id, version) for _, version in versions])
    params = {(version, key): text for (_, version), spec in specs.items() for key, text in _params(spec).items()}
    found = []
    for row, own, instants in sources:
        ledger = Ledger(rows.get(row["id"], ()), taken.get(row["id"], frozenset()))
        for missing in select(instants, ledger, again=wanted.again):
            version, in_force = version_at(versions, missing.at.fires_at)
            text = params.get((version, row["key"]), own)
            found.append(_instant(missing, row, version, text, in_force=in_force))
    return sorted(found, key=lambda instant: (instant.fires_at, instant.trigger))


def _params(spec: JobSpec) -> Mapping[str, str | None]:
    return {trigger.key: json_text(trigger.params or None) for trigger in spec.triggers}


def _instant(
    missing: Missing, trigger: "asyncpg.Record", version: int, params: str | None, *, in_force: bool
) -> Instant:
    at, row = missing.at, missing.row
    return Instant(
        at.fires_at,
        at.wall_time,
        at.zone,
        trigger["key"],
        trigger["id"],
        row.verdict if row else None,
        row.firing_id if row else None,
        version,
        in_force,
        params,
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
    return [row | {"state": _state(row), "runs": runs.get(row["id"], {})} | _priority(row) for row in rows]


def _priority(row: Row) -> Row:
    return {"priority": list(Priority)[row["priority"]].value}


def _state(row: Row) -> str:
    if row["cancelled_at"] is not None:
        return "cancelled" if row["finished_at"] is not None else "cancelling"
    return "running" if row["finished_at"] is None else "finished"
