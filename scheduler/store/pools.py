"""Pools of executors: how long their queues may be, and what an executor has to have to join."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from scheduler.domain.audit import AuditAction, AuditKind, By
from scheduler.store.audit import Change, record_changes
from scheduler.store.doorbell import DEFINITIONS
from scheduler.store.pool import json_text
from scheduler.store.queries import queries
from scheduler.store.stores import Store
from schemas.definitions_file import PoolSpec
from schemas.labels import label_texts, read_labels

if TYPE_CHECKING:
    from scheduler.store.pool import Connection

Q: Final = queries("definitions")


async def set_pool(
    store: Store,
    name: str,
    queue_limit: int | None = None,
    *,
    handlers: Sequence[str] | None = None,
    labels: Mapping[str, str] | None = None,
) -> bool:
    """Make a pool or change what is given of it; False when it was so already. Its queue is for `broker declare`."""
    given = {"queue_limit": queue_limit, "handlers": handlers, "labels": labels}
    async with store.transaction() as db:
        before = await _read(db)
        spec = {**before.get(name, PoolSpec()).model_dump(), **{k: v for k, v in given.items() if v is not None}}
        changed = bool(await write_pools(db, store.by, {name: PoolSpec.model_validate(spec)}))
        await db.execute(Q["ring"], DEFINITIONS, "")
    return changed


async def list_pool_specs(store: Store) -> dict[str, PoolSpec]:
    """Return every pool as a definitions file would say it."""
    async with store.connection() as db:
        return await _read(db)


async def write_pools(db: "Connection", by: By, pools: Mapping[str, PoolSpec]) -> list[str]:
    """Make pools as they are given; return those that were not so. Their executors hear of it."""
    if not pools:
        return []
    before = await _read(db)
    specs = pools.values()
    columns = (
        list(pools),
        [spec.queue_limit for spec in specs],
        [json_text(sorted(spec.handlers)) for spec in specs],
        [json_text(label_texts(spec.labels)) for spec in specs],
    )
    changed = [row["name"] for row in await db.fetch(Q["upsert_pools"], *columns)]
    if changed:
        await db.execute(Q["ask_executors"], changed)
    await record_changes(db, by, by.tenant, [_change(name, before.get(name), pools[name]) for name in changed])
    return changed


def _change(name: str, before: PoolSpec | None, after: PoolSpec) -> Change:
    action = AuditAction.CREATE if before is None else AuditAction.CHANGE
    stood = None if before is None else before.model_dump(mode="json")
    return Change(action, AuditKind.POOL, name, stood, after.model_dump(mode="json"))


async def _read(db: "Connection") -> dict[str, PoolSpec]:
    return {
        row["name"]: PoolSpec(
            queue_limit=row["queue_limit"], handlers=tuple(row["handlers"]), labels=read_labels(row["labels"])
        )
        for row in await db.fetch(Q["list_pools"])
    }
