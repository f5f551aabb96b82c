"""The store as one tenant sees it: each transaction says whose it is, for row level security to hold it to that."""

import contextlib
from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING, Final

from scheduler.store.stores import Store, begun

if TYPE_CHECKING:
    from scheduler.store.pool import Connection

_LONGEST_STATEMENT: Final = "25s"
_ENTER: Final = (
    f"SELECT set_config('app.tenant', $1, true), set_config('statement_timeout', '{_LONGEST_STATEMENT}', true)"
)


class TenantStore(Store):
    """Lends connections only inside transactions of the tenant; what is set in them ends with them."""

    def __init__(self, store: Store, tenant: str) -> None:
        self.name = store.name
        self.dsn = store.dsn
        self.by = store.by
        self.alone = store.alone
        self._store = store
        self._tenant = tenant

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator["Connection"]:
        async with self._store.within(self._entered) as db:
            yield db

    @contextlib.asynccontextmanager
    async def _entered(self, db: "Connection") -> AsyncIterator[None]:
        async with db.transaction():
            await db.execute(_ENTER, self._tenant)
            yield

    @contextlib.asynccontextmanager
    async def transaction(self, *, flush: bool = True) -> AsyncIterator["Connection"]:
        async with self.connection() as db:
            if not flush:
                await db.execute("SET LOCAL synchronous_commit TO off")
            yield db

    @contextlib.asynccontextmanager
    async def plain(self) -> AsyncIterator["Connection"]:
        """Lend a connection in a transaction that is begun in one round trip, and in which none may be begun."""
        tenant = "'" + self._tenant.replace("'", "''") + "'"
        async with self._store.within(partial(begun, "BEGIN; " + _ENTER.replace("$1", tenant))) as db:
            yield db

    @contextlib.asynccontextmanager
    async def unit(self) -> AsyncIterator["UnitStore"]:
        """Lend a store whose changes are one: all are committed at the end, or none."""
        async with self.connection() as db:
            yield UnitStore(self, db)

    async def close(self) -> None:
        """Close nothing: the store below belongs to others."""


class UnitStore(Store):
    """One open transaction as a store; its transactions are parts of it. For one caller at a time."""

    def __init__(self, store: Store, db: "Connection") -> None:
        self.name = store.name
        self.dsn = store.dsn
        self.by = store.by
        self._db = db

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator["Connection"]:
        yield self._db

    @contextlib.asynccontextmanager
    async def transaction(self, *, flush: bool = True) -> AsyncIterator["Connection"]:  # noqa: ARG002 - see Store
        async with self._db.transaction():
            yield self._db

    async def close(self) -> None:
        """Close nothing: the connection belongs to the pool."""
