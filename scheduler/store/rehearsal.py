"""Applies definitions and takes it all back: what ``apply`` would do, said by ``apply`` itself.

A second reading of its rules would drift from them. The transaction holds the same locks as an
apply, for as long, and nobody ever sees what is in it.
"""

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from scheduler.clock import Clock
from scheduler.store.definitions import ApplyResult, Wanted, apply
from scheduler.store.queries import queries
from scheduler.store.stores import Store
from scheduler.store.unreadable import describe
from schemas.job_spec import JobSpec

if TYPE_CHECKING:
    from scheduler.store.pool import Connection

Q: Final = queries("rehearsal")


@dataclass(frozen=True, slots=True)
class Standing:
    """A job as it stands before the apply."""

    spec: JobSpec | None
    """None: it cannot be read, as ``trouble`` says."""
    enabled: bool
    paused: bool
    anchors: Mapping[str, datetime]
    """By key of the trigger, when it was first applied."""
    fired: Mapping[str, int]
    """By key of the trigger, what counts against max_fires so far."""
    trouble: str | None = None


class _Rehearsal(Store):
    """A store whose one transaction is always rolled back, and shows first what stood before."""

    def __init__(self, store: Store, tenant: str) -> None:
        self.name, self.dsn, self.by = store.name, store.dsn, store.by
        self._store = store
        self._tenant = tenant
        self.standing: dict[str, Standing] = {}

    @contextlib.asynccontextmanager
    async def transaction(self, *, flush: bool = True) -> AsyncIterator["Connection"]:  # noqa: ARG002 - see Store
        async with self._store.connection() as db:
            transaction = db.transaction()
            await transaction.start()
            try:
                self.standing = await _read(db, self._tenant)
                yield db
            finally:
                await transaction.rollback()


async def rehearse(
    store: Store, wanted: Wanted, *, prune: bool, clock: Clock
) -> tuple[ApplyResult, Mapping[str, Standing]]:
    """Return what ``apply`` would do now, and the jobs as they stand; nothing is written.

    Raises:
        ConflictError, DefinitionsError, DatabaseUnavailableError: as apply would.
    """
    rehearsal = _Rehearsal(store, wanted.tenant)
    result = await apply(rehearsal, wanted, prune=prune, clock=clock)
    return result, rehearsal.standing


async def _read(db: "Connection", tenant: str) -> dict[str, Standing]:
    anchors: dict[str, dict[str, datetime]] = {}
    fired: dict[str, dict[str, int]] = {}
    for row in await db.fetch(Q["list_anchors"], tenant):
        anchors.setdefault(row["name"], {})[row["key"]] = row["anchor_at"]
        fired.setdefault(row["name"], {})[row["key"]] = row["fired"]
    found = {}
    for row in await db.fetch(Q["list_standing"], tenant):
        spec, trouble = _parse(row["spec"])
        name = row["name"]
        known = anchors.get(name, {}), fired.get(name, {})
        found[name] = Standing(spec, row["enabled"], row["paused"], *known, trouble)
    return found


def _parse(stored: Mapping[str, Any]) -> tuple[JobSpec | None, str | None]:
    """Return a stored definition, or why it cannot be read: a newer program may have written it."""
    try:
        return JobSpec.model_validate(stored, extra="ignore"), None
    except ValidationError as error:
        return None, describe(error)
