"""The audit log: who did what to what, written in the transaction that does it, and never changed afterwards.

Who acts comes with the store: whoever opens one says on whose behalf (``Store.by``), a request gets a store of
its caller (``Store.acting``). So no function that changes something can forget to ask, none has a parameter for
it, and there is no state of the process that could be somebody else's.

No entry holds a secret: definitions are in it as versions and digests, params as their names, keys as theirs.
"""

import hashlib
import json
import os
import pwd
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from scheduler.domain.audit import AuditAction, AuditKind, By, plain
from scheduler.store.pool import json_text
from scheduler.store.queries import columns, queries
from scheduler.store.stores import Store

if TYPE_CHECKING:
    from scheduler.store.pool import Connection

Q: Final = queries("audit")
_LONGEST_DOCUMENT: Final = 4096
_MOST_NAMES: Final = 50

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is done to one object. ``before`` and ``after`` say what of it is different, no secrets."""

    action: AuditAction
    kind: AuditKind
    name: str
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Denial:
    """A request that was refused, and ``count - 1`` of the same caller before it that no entry speaks of."""

    path: str
    asked: Mapping[str, Any]
    count: int


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries: all where a field is None. ``after`` is the last id of the page before."""

    actor: str | None = None
    """The whole of it, or its beginning before a ``*``."""
    action: str | None = None
    kind: str | None = None
    name: str | None = None
    result: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    after: UUID | None = None
    limit: int = 50


def person(program: str, tenant: str) -> By:
    """Return whoever runs this process, as the operating system knows them: the environment is not asked."""
    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    return By(plain(f"{program}:{name}@{socket.gethostname()}"), tenant)


async def record_changes(db: "Connection", by: By, tenant: str, changes: Iterable[Change]) -> None:
    """Write down what is done, within the transaction that does it; nothing is written where nothing is done."""
    rows = [
        (one.action.value, one.kind.value, plain(one.name), _bounded(one.before), _bounded(one.after))
        for one in changes
    ]
    if rows:
        await db.execute(Q["record_changes"], tenant, by.actor, by.address, by.request_id, *columns(rows))


async def record_denial(store: Store, tenant: str, denial: Denial) -> None:
    """Write down that whom ``store`` acts for was refused."""
    by = store.by
    async with store.connection() as db:
        await db.execute(
            Q["record_denial"],
            tenant,
            by.actor,
            by.address,
            by.request_id,
            plain(denial.path),
            denial.asked,
            denial.count,
        )


async def list_audit(stores: Sequence[Store], tenant: str, which: AuditFilter) -> list[Row]:
    """Return entries, newest first.

    ``stores``: the one that ``tenant`` lives in, and the main one, where what is done to its keys is written and
    what was written before it moved.
    """
    filters = (which.actor, which.action, which.kind, which.name, which.result, which.since, which.until)
    found: dict[UUID, Row] = {}
    for store in stores:
        async with store.connection() as db:
            rows = await db.fetch(Q["list_audit"], tenant, which.after, *_patterns(filters), which.limit)
        found |= {row["id"]: dict(row) for row in rows}
    return sorted(found.values(), key=lambda row: row["id"], reverse=True)[: which.limit]


def names_of(params: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what an entry says of params: their names, as many as are of use; the values may be secrets."""
    return {"params": sorted(params)[:_MOST_NAMES]} if params else {}


def digest_of(document: Any) -> str:
    """Return the SHA-256 of a definition as canonical JSON."""
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _patterns(filters: tuple[Any, ...]) -> tuple[Any, ...]:
    actor, *others = filters
    if actor is not None:
        escaped = actor.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        actor = escaped[:-1] + "%" if escaped.endswith("*") else escaped
    return (actor, *others)


def _bounded(document: Mapping[str, Any] | None) -> str | None:
    """Return the JSON text of ``document``; of a longer one its digest and its names."""
    text = json_text(document)
    if text is None or document is None or len(text) <= _LONGEST_DOCUMENT:
        return text
    said = {"sha256": hashlib.sha256(text.encode()).hexdigest(), "bytes": len(text)}
    return json_text(said | {"names": [plain(name) for name in sorted(document)[:10]]})
