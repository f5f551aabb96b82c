"""API keys: shown once when they are made, kept as SHA-256, found by it."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from scheduler.clock import Clock
from scheduler.domain.access import Role
from scheduler.domain.audit import AuditAction, AuditKind
from scheduler.errors import ConflictError, NotFoundError
from scheduler.ids import uuid7
from scheduler.store.audit import Change, record_changes
from scheduler.store.queries import queries
from scheduler.store.stores import Store

Q: Final = queries("api_keys")
PREFIX: Final = "scheduler_key_"
"""What every key begins with, for those who look for secrets where none should be."""
_RANDOM_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A key that somebody showed, and that is good at this moment."""

    id: UUID
    tenant: str
    name: str
    role: Role


async def create_key(
    store: Store, tenant: str, name: str, role: Role, *, expires_at: datetime | None, clock: Clock
) -> str:
    """Make a key and return it; it can never be seen again.

    Raises:
        ConflictError: the tenant has a key of that name, or had.
    """
    key = PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    async with store.transaction() as db:
        made = await db.fetchval(Q["insert_key"], uuid7(clock), tenant, name, role.value, _digest(key), expires_at)
        if made is None:
            raise ConflictError(f"there is or was a key {name}: choose another name")
        after = {"id": str(made), "role": role.value, "expires_at": expires_at}
        await record_changes(db, store.by, tenant, [Change(AuditAction.CREATE, AuditKind.KEY, name, after=after)])
    return key


async def list_keys(store: Store, tenant: str) -> list[dict[str, Any]]:
    """Return the keys of ``tenant``, oldest first, without what they are."""
    async with store.connection() as db:
        return [dict(row) for row in await db.fetch(Q["list_keys"], tenant)]


async def revoke_key(store: Store, tenant: str, name: str) -> str:
    """Make a key, given by name or id, worth nothing from the next request on; return its name.

    Raises:
        NotFoundError: there is none.
    """
    async with store.transaction() as db:
        found: str | None = await db.fetchval(Q["revoke_key"], tenant, name)
        if found is None:
            raise NotFoundError(f"there is no key {name}")
        await record_changes(db, store.by, tenant, [Change(AuditAction.REVOKE, AuditKind.KEY, found)])
    return found


async def use_key(store: Store, key: str) -> KnownKey | None:
    """Return whose ``key`` is and note that it was used; None when it is unknown, expired or revoked."""
    async with store.connection() as db:
        row = await db.fetchrow(Q["use_key"], _digest(key))
    return None if row is None else KnownKey(row["id"], row["tenant"], row["name"], Role(row["role"]))


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
