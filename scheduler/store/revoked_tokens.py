"""Tokens of the issuer that are worth nothing any more, although they are signed and have not expired.

They are those of one issuer, whatever their tenants: rows are of the main store, and of no tenant.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from scheduler.config_sections import LONGEST_TOKEN
from scheduler.domain.audit import AuditAction, AuditKind
from scheduler.store.audit import Change, record_changes
from scheduler.store.queries import queries
from scheduler.store.stores import Store

Q: Final = queries("revoked_tokens")


class TokenMark(StrEnum):
    """What a revocation goes by."""

    ID = "id"
    """The claim ``jti``: that one token."""
    SUBJECT = "subject"
    """The claim ``sub``: all that were issued before, or up to ``jwt.leeway`` later by their own word."""


async def revoke_tokens(store: Store, mark: TokenMark, value: str) -> None:
    """Refuse such tokens from the next request on; forget revocations of tokens that have expired since."""
    async with store.transaction() as db:
        await db.execute(Q["forget_revoked"], 2 * LONGEST_TOKEN)
        await db.execute(Q["revoke"], mark.value, value)
        done = Change(AuditAction.REVOKE, AuditKind.TOKEN, value, after={"by": mark.value})
        await record_changes(db, store.by, store.by.tenant, [done])


async def list_revoked(store: Store) -> list[Mapping[str, Any]]:
    """Return what was revoked, the newest first."""
    async with store.connection() as db:
        return [dict(row) for row in await db.fetch(Q["list_revoked"])]


async def is_revoked(store: Store, token_id: str | None, subject: str, issued_at: datetime) -> bool:
    """Return whether a token with these claims was revoked; ``token_id`` None: it has none. ``issued_at``: at the
    earliest, if the clock of its issuer is ahead.
    """
    async with store.connection() as db:
        return bool(await db.fetchval(Q["is_revoked"], token_id, subject, issued_at))
