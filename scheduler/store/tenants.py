"""Tenants as an operator sees them: made, given quotas and a share, suspended and activated.

While a tenant is suspended its firings get the verdict ``tenant_suspended`` and nothing of its backlog
is offered; what an executor holds goes on, and what was offered before may still be claimed. When it
is activated, what fell into the suspension is caught up with as after a pause.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from scheduler.clock import Clock
from scheduler.domain.audit import AuditAction, AuditKind
from scheduler.errors import ConflictError, NotFoundError
from scheduler.store.audit import Change, record_changes
from scheduler.store.doorbell import DEFINITIONS, WORK
from scheduler.store.queries import queries
from scheduler.store.stores import Store

Q: Final = queries("tenants")
_DEFINITIONS: Final = queries("definitions")

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Terms:
    """What an operator grants a tenant. A quota of None is no limit."""

    weight: int = 1
    """Its share of a pool that several tenants wait for, against theirs."""
    max_jobs: int | None = None
    max_runs_per_minute: int | None = None
    max_storage_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Suspended:
    """What goes on although a tenant is suspended."""

    changed: bool
    """False: it was suspended already."""
    out: int
    """Runs that executors hold or are offered: they go on."""
    held: int
    """Runs that wait until it is activated."""


async def create_tenant(store: Store, name: str, terms: Terms) -> None:
    """Make a tenant.

    Raises:
        ConflictError: it is there already.
    """
    async with store.transaction() as db:
        if await db.fetchval(Q["insert_tenant"], name, *asdict(terms).values()) is None:
            raise ConflictError(f"tenant {name} is there already")
        done = Change(AuditAction.CREATE, AuditKind.TENANT, name, after=asdict(terms))
        await record_changes(db, store.by, name, [done])


async def change_tenant(store: Store, name: str, changes: Mapping[str, int | None]) -> Terms:
    """Change some of a tenant's terms, by their names; return all of them.

    Raises:
        NotFoundError: there is no such tenant.
    """
    async with store.transaction() as db:
        row = await db.fetchrow(Q["get_tenant"], name)
        if row is None:
            raise NotFoundError(f"there is no tenant {name}")
        before = {field.name: row[field.name] for field in fields(Terms)}
        terms = Terms(**before | dict(changes))
        await db.execute(Q["change_tenant"], name, *asdict(terms).values())
        await db.execute(_DEFINITIONS["ring"], DEFINITIONS, name)
        done = Change(AuditAction.CHANGE, AuditKind.TENANT, name, before, asdict(terms))
        await record_changes(db, store.by, name, [done])
    return terms


async def list_tenants(store: Store) -> list[Row]:
    """Return every tenant of a store, with how many jobs it has."""
    async with store.connection() as db:
        return [dict(row) for row in await db.fetch(Q["list_tenants"])]


async def suspend_tenant(store: Store, name: str, *, note: str | None, clock: Clock) -> Suspended:
    """Start nothing more of a tenant; what executors hold goes on.

    Raises:
        NotFoundError: there is no such tenant.
    """
    async with store.transaction() as db:
        changed = await _switch(db, name, "suspend_tenant", note)
        if changed:
            now = clock.now()
            await db.execute(_DEFINITIONS["activate_triggers"], name, None, now)
            await db.execute(_DEFINITIONS["take_back"], name, None, now)
            done = Change(AuditAction.SUSPEND, AuditKind.TENANT, name, after={"note": note} if note else None)
            await record_changes(db, store.by, name, [done])
        [held] = await db.fetch(Q["count_held"], name)
    return Suspended(changed, held["out"], held["open"] - held["out"])


async def activate_tenant(store: Store, name: str, *, clock: Clock) -> bool:
    """Plan and start what belongs to a tenant again; False when it was not suspended.

    Raises:
        NotFoundError: there is no such tenant.
    """
    async with store.transaction() as db:
        changed = await _switch(db, name, "activate_tenant")
        if changed:
            now = clock.now()
            await db.execute(_DEFINITIONS["activate_triggers"], name, None, now)
            await db.execute(Q["account_suspension"], name, now)
            await db.execute(_DEFINITIONS["ring"], WORK, "")
            await record_changes(db, store.by, name, [Change(AuditAction.ACTIVATE, AuditKind.TENANT, name)])
    return changed


async def _switch(db: Any, name: str, query: str, *arguments: str | None) -> bool:
    if await db.fetchrow(Q["lock_tenant"], name) is None:
        raise NotFoundError(f"there is no tenant {name}")
    changed = await db.fetchval(Q[query], name, *arguments) is not None
    if changed:
        await db.execute(_DEFINITIONS["count_revision"], name)
        await db.execute(_DEFINITIONS["ring"], DEFINITIONS, name)
    return changed
