"""Dead runs: failed runs that used up their attempts, and that nobody has retried or discarded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from scheduler.clock import Clock
from scheduler.domain.audit import AuditAction, AuditKind
from scheduler.ids import uuid7
from scheduler.store.audit import Change, names_of, record_changes
from scheduler.store.doorbell import WORK
from scheduler.store.pool import json_text
from scheduler.store.queries import queries
from scheduler.store.reading import Row
from scheduler.store.stores import Store

Q: Final = queries("dead_runs")
_DEFINITIONS: Final = queries("definitions")
AT_ONCE: Final = 500
"""Dead runs retried in one transaction: what a Dispatcher takes without other firings waiting long."""


@dataclass(frozen=True, slots=True)
class DeadFilter:
    """Which dead runs: all where a field is None. ``reason`` is a part of it, in any case of letters."""

    job: str | None = None
    outcome: str | None = None
    reason: str | None = None
    since: datetime | None = None


async def list_dead(
    store: Store, tenant: str, which: DeadFilter, *, after: UUID | None = None, limit: int | None = None
) -> list[Row]:
    """Return dead runs, newest first; ``after`` is the last id of the page before, no ``limit`` means all."""
    filters = (which.job, which.outcome, which.reason, which.since)
    async with store.connection() as db:
        return [dict(row) for row in await db.fetch(Q["list_dead"], tenant, *filters, after, limit)]


async def discard_dead(store: Store, tenant: str, run_ids: Sequence[UUID]) -> int:
    """Say that these dead runs are dealt with. Returns how many were dead still."""
    async with store.transaction() as db:
        rows = await db.fetch(Q["discard_dead"], tenant, run_ids)
        done = [Change(AuditAction.DISCARD, AuditKind.RUN, str(row["id"]), {"job": row["job_name"]}) for row in rows]
        await record_changes(db, store.by, tenant, done)
    return len(rows)


async def retry_dead(
    store: Store, tenant: str, run_ids: Sequence[UUID], *, params: Mapping[str, Any] | None, clock: Clock
) -> int:
    """Ask for a new run of each of these dead runs, with its own params under ``params``.

    AT_ONCE at a time, each of them all or nothing. Returns how many were dead still; runs of
    deleted jobs are left alone.
    """
    asked = 0
    for start in range(0, len(run_ids), AT_ONCE):
        asked += await _retry_some(store, tenant, run_ids[start : start + AT_ONCE], params or {}, clock)
    return asked


async def _retry_some(
    store: Store, tenant: str, run_ids: Sequence[UUID], params: Mapping[str, Any], clock: Clock
) -> int:
    async with store.transaction() as db:
        runs = await db.fetch(Q["lock_dead"], tenant, run_ids)
        given = [{**(run["params"] or {}), **params} or None for run in runs]
        events = [uuid7(clock) for _ in runs]
        data = [json_text({"run": str(run["id"]), "params": own}) for run, own in zip(runs, given, strict=True)]
        await db.execute(Q["insert_retry_events"], tenant, events, data)
        now = clock.now()
        await db.execute(
            Q["insert_retry_firings"],
            tenant,
            now,
            now.replace(tzinfo=None).isoformat(),
            [uuid7(clock) for _ in runs],
            events,
            [run["job_id"] for run in runs],
            [run["version"] for run in runs],
            [None if own is None else json_text(own) for own in given],
            [run["id"] for run in runs],
        )
        await db.execute(_DEFINITIONS["ring"], WORK, "")
        named = names_of(params)
        done = [
            Change(AuditAction.RETRY, AuditKind.RUN, str(run["id"]), after={"job": run["job_name"], **named})
            for run in runs
        ]
        await record_changes(db, store.by, tenant, done)
    return len(runs)
