"""Many runs cancelled at once: those of a job, a flow, a pool, in a state. Rows and a ring; actors do the rest."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

from scheduler.domain.audit import AuditAction, AuditKind
from scheduler.domain.run_state import CANCELLED_AT_ONCE
from scheduler.store.audit import Change, record_changes
from scheduler.store.doorbell import CANCEL, WORK
from scheduler.store.queries import queries
from scheduler.store.stores import Store
from schemas.vocabulary import RunState

if TYPE_CHECKING:
    from scheduler.store.pool import Connection

Q: Final = queries("cancelling")
_CONTROL: Final = queries("control")
_RING: Final = queries("definitions")["ring"]
AT_ONCE: Final = 500
"""Runs cancelled in one transaction: others wait for those locks."""


@dataclass(frozen=True, slots=True)
class CancelFilter:
    """Which runs that are not over: all where a field is None.

    ``flow`` means the runs that were made for it; one that it found waiting and joined is another flow's.
    """

    job: str | None = None
    flow: UUID | None = None
    states: Sequence[str] | None = None
    pool: str | None = None
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class CancelledRuns:
    """How many runs are over now, and how many run: their executors are asked to stop them."""

    cancelled: int = 0
    asked: int = 0


async def list_cancellable(store: Store, tenant: str, which: CancelFilter) -> list[UUID]:
    """Return the runs of ``tenant`` that ``which`` names and that are not over, oldest first."""
    states = None if which.states is None else list(which.states)
    async with store.connection() as db:
        rows = await db.fetch(Q["list_cancellable"], tenant, which.job, which.flow, states, which.pool, which.since)
    return [row["id"] for row in rows]


async def cancel_runs(store: Store, tenant: str, run_ids: Sequence[UUID], *, reason: str) -> CancelledRuns:
    """Cancel these runs, AT_ONCE at a time, each of them all or nothing; those that are over by then are left alone."""
    cancelled = asked = 0
    for start in range(0, len(run_ids), AT_ONCE):
        async with store.transaction() as db:
            done = await _cancel_some(db, store, tenant, run_ids[start : start + AT_ONCE], reason)
        cancelled, asked = cancelled + done.cancelled, asked + done.asked
    return CancelledRuns(cancelled, asked)


async def _cancel_some(
    db: "Connection", store: Store, tenant: str, run_ids: Sequence[UUID], reason: str
) -> CancelledRuns:
    rows = await db.fetch(Q["lock_cancellable"], tenant, run_ids)
    running = [row["id"] for row in rows if row["state"] == RunState.RUNNING]
    others = [row["id"] for row in rows if row["state"] != RunState.RUNNING]
    await db.execute(_CONTROL["cancel_runs"], others, reason, [state.value for state in CANCELLED_AT_ONCE])
    await db.execute(_CONTROL["wish_cancels"], running, reason, False)
    await db.execute(Q["ring_cancels"], CANCEL, tenant, running)
    await db.execute(_RING, WORK, "")
    after = {"reason": reason}
    done = [
        Change(
            AuditAction.CANCEL, AuditKind.RUN, str(row["id"]), {"job": row["job_name"], "state": row["state"]}, after
        )
        for row in rows
    ]
    await record_changes(db, store.by, tenant, done)
    return CancelledRuns(len(others), len(running))
