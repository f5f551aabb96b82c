"""Pauses jobs whose runs fail one after the other (``pause_after``), in the transaction that settles the last one."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog

from scheduler.domain.audit import AuditAction, AuditKind, By
from scheduler.store.audit import Change, record_changes
from scheduler.store.doorbell import DEFINITIONS
from scheduler.store.queries import queries

if TYPE_CHECKING:
    from scheduler.store.pool import Connection

log: structlog.stdlib.BoundLogger = structlog.get_logger()

Q: Final = queries("pausing")
_DEFINITIONS: Final = queries("definitions")
_BY: Final = By("system:pause_after")


async def lock_pausing(db: "Connection", run_ids: Sequence[UUID]) -> list[UUID]:
    """Lock the jobs of these runs that are to be paused after failures; call it before the runs are locked.

    Tenants, then jobs, then runs: the order of everybody who locks several of them.
    """
    found = await db.fetch(Q["find_pausing"], run_ids)
    if not found:
        return []
    await db.execute(Q["lock_tenants"], sorted({row["tenant"] for row in found}))
    jobs = [row["id"] for row in found]
    await db.execute(Q["lock_jobs"], jobs)
    return jobs


async def pause_failing(db: "Connection", jobs: Sequence[UUID]) -> None:
    """Pause those of ``jobs``, which ``lock_pausing`` locked, whose last runs have all failed, as often as they say."""
    for row in await db.fetch(Q["pause_failing"], jobs, _BY.actor):
        log.warning("job.paused", tenant=row["tenant"], job=row["name"], reason=row["pause_note"])
        await db.execute(_DEFINITIONS["activate_triggers"], row["tenant"], [row["id"]], row["paused_at"])
        await db.execute(_DEFINITIONS["take_back"], row["tenant"], [row["id"]], row["paused_at"])
        await db.execute(_DEFINITIONS["count_revision"], row["tenant"])
        await db.execute(_DEFINITIONS["ring"], DEFINITIONS, row["tenant"])
        done = Change(AuditAction.PAUSE, AuditKind.JOB, row["name"], after={"note": row["pause_note"]})
        await record_changes(db, _BY, row["tenant"], [done])
