"""What operators do with the queue of a pool: pause, resume, drain, clear. Rows and a ring; actors do the rest.

A paused pool gets no offers: its runs stay ``ready``. Pause and limits belong to the pool, over all
tenants; what is cleared belongs to one.
"""

import asyncio
from typing import TYPE_CHECKING, Any, Final

from scheduler.clock import Clock
from scheduler.domain.audit import AuditAction, AuditKind
from scheduler.errors import NotFoundError
from scheduler.store.audit import Change, record_changes
from scheduler.store.doorbell import WORK
from scheduler.store.queries import queries
from scheduler.store.stores import Store

if TYPE_CHECKING:
    from scheduler.store.pool import Connection

Q: Final = queries("queues")
_RING: Final = queries("triggers")["ring"]
_AT_ONCE: Final = 1000
_LOOK_S: Final = 0.2


async def list_queues(store: Store) -> list[dict[str, Any]]:
    """Return for each pool its limit, its pause, and how many runs of all tenants wait and run there."""
    async with store.connection() as db:
        return [dict(row) for row in await db.fetch(Q["list_queues"])]


async def pause_queue(store: Store, pool: str) -> bool:
    """Start nothing more in ``pool``; what is offered and not claimed is taken back. False: it was paused already.

    Raises:
        NotFoundError: there is no such pool.
    """
    async with store.transaction() as db:
        changed = await _change(db, "pause_pool", pool)
        if changed:
            await record_changes(db, store.by, store.by.tenant, [Change(AuditAction.PAUSE, AuditKind.POOL, pool)])
        await db.execute(Q["take_back"], pool)
        return changed


async def resume_queue(store: Store, pool: str) -> bool:
    """Offer runs of ``pool`` again. False: it was not paused.

    Raises:
        NotFoundError: there is no such pool.
    """
    async with store.transaction() as db:
        changed = await _change(db, "resume_pool", pool)
        if changed:
            await record_changes(db, store.by, store.by.tenant, [Change(AuditAction.RESUME, AuditKind.POOL, pool)])
        await db.execute(_RING, WORK, "")
        return changed


async def drain_queue(store: Store, pool: str, *, timeout_s: float, clock: Clock) -> int:
    """Pause ``pool`` and wait until nothing runs there, ``timeout_s`` at most; return how many runs still do.

    Raises:
        NotFoundError: there is no such pool.
    """
    await pause_queue(store, pool)
    running = 0
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                async with store.connection() as db:
                    running = await db.fetchval(Q["count_running"], pool)
                if not running:
                    return 0
                await clock.sleep(_LOOK_S)
    except TimeoutError:
        return running


async def clear_queue(store: Store, tenant: str, pool: str, *, reason: str) -> int:
    """Cancel every run of ``tenant`` that waits in ``pool`` for an executor; return how many. Those that run go on.

    Raises:
        NotFoundError: there is no such pool.
    """
    async with store.connection() as db:
        if not await db.fetchval(Q["has_pool"], pool):
            raise NotFoundError(f"there is no pool {pool}")
    cleared = 0
    while True:
        async with store.transaction() as db:
            found = len(await db.fetch(Q["cancel_waiting"], tenant, pool, reason, _AT_ONCE))
            await db.execute(_RING, WORK, "")
            if found:
                after = {"cancelled": found, "reason": reason}
                await record_changes(
                    db, store.by, tenant, [Change(AuditAction.CLEAR, AuditKind.POOL, pool, after=after)]
                )
        cleared += found
        if found < _AT_ONCE:
            return cleared


async def _change(db: "Connection", query: str, pool: str) -> bool:
    changed: bool | None = await db.fetchval(Q[query], pool)
    if changed is None:
        raise NotFoundError(f"there is no pool {pool}")
    return changed
