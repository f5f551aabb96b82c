"""What operators want of single executors: to drain one, or to let it work again. Rows and a ring.

The wish is in the executor's row. Its next heartbeat, asked for at once, is answered with it.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

from scheduler.clock import Clock
from scheduler.domain.audit import AuditAction, AuditKind
from scheduler.errors import NotFoundError
from scheduler.store.audit import Change, record_changes
from scheduler.store.doorbell import EXECUTORS, WORK
from scheduler.store.pool import json_text
from scheduler.store.queries import queries
from scheduler.store.stores import Store
from schemas.job_spec import JobSpec

Q: Final = queries("executors")
_RING: Final = queries("triggers")["ring"]
_LOOK_S: Final = 0.2


async def drain_executor(store: Store, name: str, *, lease_s: float) -> Sequence[UUID]:
    """Have the executor take nothing new; what it runs goes on. Returns its boot id; a new process starts undrained.

    Raises:
        NotFoundError: no executor of that name was heard of within ``lease_s``.
    """
    return await _wish(store, "wish_drain", AuditAction.DRAIN, name, lease_s)


async def undrain_executor(store: Store, name: str, *, lease_s: float) -> Sequence[UUID]:
    """Let a drained executor work again; one that is not drained goes on.

    Raises:
        NotFoundError: as for ``drain_executor``.
    """
    return await _wish(store, "withdraw_drain", AuditAction.UNDRAIN, name, lease_s)


async def wait_drained(
    store: Store, boot_ids: Sequence[UUID], *, lease_s: float, timeout_s: float, clock: Clock
) -> int | None:
    """Wait until the executors have obeyed and nothing is theirs any more, ``timeout_s`` at most.

    Returns how many attempts still are; None: an executor has not even said that it takes nothing new.
    """
    left: int | None = None
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                async with store.connection() as db:
                    found = await db.fetchrow(Q["get_drained"], boot_ids, lease_s)
                left = found["running"] if found is not None and found["heard"] else None
                if left == 0:
                    return 0
                await clock.sleep(_LOOK_S)
    except TimeoutError:
        return left


async def find_impossible(store: Store, jobs: Mapping[str, JobSpec], *, lease_s: float) -> dict[str, str]:
    """Return why no executor that lives now could run a job, by the jobs of which that holds.

    A pool in which none lives says nothing: its executors may be of any kind.
    """
    async with store.connection() as db:
        rows = await db.fetch(
            Q["find_impossible"],
            list(jobs),
            [spec.pool for spec in jobs.values()],
            [json_text(spec.model_dump(mode="json")) for spec in jobs.values()],
            lease_s,
        )
    return {row["name"]: row["why"] for row in rows if row["why"] is not None}


async def _wish(store: Store, query: str, action: AuditAction, name: str, lease_s: float) -> Sequence[UUID]:
    async with store.transaction() as db:
        boot_ids = [row["boot_id"] for row in await db.fetch(Q[query], name, lease_s)]
        if not boot_ids:
            raise NotFoundError(f"there is no live executor {name}: scheduler executors")
        for boot_id in boot_ids:
            await db.execute(_RING, EXECUTORS, f"{boot_id} {name}")
        await db.execute(_RING, WORK, "")
        after = {"boot_ids": [str(boot_id) for boot_id in boot_ids]}
        await record_changes(db, store.by, store.by.tenant, [Change(action, AuditKind.EXECUTOR, name, after=after)])
    return boot_ids
