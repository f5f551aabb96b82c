"""Stores by tenant: code never opens a database, it asks for the store of a tenant.

A store is one database. A tenant lives in the main one or in one of its own, which is named after it. An
actor works for one store; what answers questions about all tenants is told of each that is open.
"""

import contextlib
import copy
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, Protocol, Self, TypeVar

import asyncpg

from scheduler.domain.audit import By
from scheduler.errors import DatabaseUnavailableError
from scheduler.service import is_cancelled
from scheduler.store.pool import ENDED, UNAVAILABLE, open_pool, unwell, where

if TYPE_CHECKING:
    from scheduler.store.pool import Connection

    Begin = Callable[[Connection], AbstractAsyncContextManager[object]]

MAIN = "main"


class OfTenant(Protocol):
    """Anything that says whose it is."""

    @property
    def tenant(self) -> str: ...


T = TypeVar("T", bound=OfTenant)


class Store:
    """One database: its pool, and transactions whose errors are ours."""

    by: By
    """Who is to be written down for what is changed through it."""

    alone = False
    """Whether it has a broker, or a vhost, to itself."""

    def __init__(
        self, name: str, dsn: str, pool: "asyncpg.Pool[asyncpg.Record]", by: By, *, alone: bool = False
    ) -> None:
        self.name = name
        self.dsn = dsn
        self.by = by
        self._pool = pool
        self.alone = alone

    def acting(self, by: By) -> Self:
        """Return the same store on behalf of somebody else."""
        store = copy.copy(self)
        store.by = by
        return store

    @property
    def apart(self) -> str | None:
        """The name of a store other than the main one, which is that of its tenant; None: the main one."""
        return None if self.name == MAIN else self.name

    @property
    def suffix(self) -> str | None:
        """What its messages carry, where several stores share a broker; None: those of the main one, or alone there."""
        return None if self.alone else self.apart

    @contextlib.asynccontextmanager
    async def transaction(self, *, flush: bool = True) -> AsyncIterator["Connection"]:
        """Lend a connection inside a transaction (READ COMMITTED).

        ``flush=False``: the commit does not wait for the disk. For what would be done again by itself
        if the database lost it in a crash: plans, verdicts, DAG steps, offers. Nothing that lasts can be
        built on what is lost: the log is written in order, so a claim that is on disk has the verdict
        it stands on there before it, and a claim for a run that is lost is denied.

        Raises:
            DatabaseUnavailableError: the database went away, or lost a lock: try again.
        """
        words = "BEGIN" if flush else "BEGIN; SET LOCAL synchronous_commit TO off"
        async with self.within(partial(begun, words)) as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def within(self, begin: "Begin") -> AsyncIterator["Connection"]:
        """Lend a connection within ``begin`` of it, of which nothing stays when it does not begin.

        Where the server has ended the session since it was used last, it begins on another connection; not in a task
        that is cancelled.

        Raises:
            DatabaseUnavailableError: the database went away, or lost a lock: try again.
        """
        with self._ours():
            for again in (True, False):
                async with contextlib.AsyncExitStack() as stack:
                    connection = await stack.enter_async_context(self._lent())
                    try:
                        await stack.enter_async_context(begin(connection))
                    except ENDED:
                        if not again or is_cancelled():  # who is asked to end may hear of it by no more than this
                            raise
                        _end(connection)
                        continue
                    yield connection
                    return

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator["Connection"]:
        """Lend a connection for single statements, each its own transaction.

        Raises:
            DatabaseUnavailableError: the database went away: try again.
        """
        with self._ours():
            async with self._lent() as connection:
                yield connection

    @contextlib.asynccontextmanager
    async def _lent(self) -> AsyncIterator["Connection"]:
        async with self._pool.acquire() as connection:
            try:
                yield connection
            except asyncpg.InternalClientError:  # nobody can use it any more, and the pool would lend it
                _end(connection)
                raise

    @contextlib.contextmanager
    def _ours(self) -> Iterator[None]:
        """Turn what asyncpg raises of an unwell database into what we do."""
        try:
            yield
        except (*UNAVAILABLE, asyncpg.PostgresError) as error:
            if not unwell(error):
                raise
            text = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DatabaseUnavailableError(f"database at {where(self.dsn)} unavailable: {text}") from error

    async def probe(self) -> None:
        """See that the database answers.

        Raises:
            DatabaseUnavailableError: it does not.
        """
        async with self.connection() as db:
            await db.execute("SELECT 1")

    async def close(self) -> None:
        await self._pool.close()


@contextlib.asynccontextmanager
async def begun(words: str, connection: "Connection") -> AsyncIterator[None]:
    """Begin a transaction with ``words``, and commit it at the end."""
    try:  # a task that is cancelled at BEGIN may have a transaction all the same
        await connection.execute(words)
        yield
    except BaseException:
        await _roll_back(connection)
        raise
    await connection.execute("COMMIT")


async def _roll_back(connection: "Connection") -> None:
    """Leave nothing of a transaction; what it failed of, a cancel above all, is what is told, not that this failed."""
    if not connection.is_closed():
        try:
            await connection.execute("ROLLBACK")
        except (OSError, *ENDED):
            _end(connection)


def _end(connection: "Connection") -> None:
    with contextlib.suppress(asyncpg.InterfaceError):  # the pool has it back already
        connection.terminate()


class Stores:
    """The store of each tenant."""

    def __init__(self, main: Store) -> None:
        self.main = main
        self._apart: dict[str, Store] = {}
        self._missing: dict[str, str] = {}

    @classmethod
    async def open(cls, dsn: str, *, name: str, size: int = 5, by: By | None = None) -> Self:
        """Open the main store; ``name`` shows in pg_stat_activity, ``size`` bounds its connections.

        ``by``: on whose behalf; None: the actor's of that name.

        Raises:
            DatabaseUnavailableError: no connection.
        """
        return cls(Store(MAIN, dsn, await open_pool(dsn, name=name, size=size), by or By(f"system:{name}")))

    def of(self, tenant: str) -> Store:
        """Return the store that holds ``tenant``, as far as it was told.

        Raises:
            DatabaseUnavailableError: it has one of its own, which is not open here.
        """
        if tenant in self._missing:
            raise DatabaseUnavailableError(self._missing[tenant])
        return self._apart.get(tenant, self.main)

    def add(self, store: Store) -> None:
        """Know the open store of the tenant it is named after; it is closed with the others."""
        self._missing.pop(store.name, None)
        self._apart[store.name] = store

    def note_missing(self, tenant: str, why: str) -> None:
        """Know that ``tenant`` has a store of its own, and why it is not open."""
        self._missing[tenant] = why

    async def forget(self, tenant: str) -> None:
        """Close the own store of a tenant that has it no more, or elsewhere."""
        self._missing.pop(tenant, None)
        if (store := self._apart.pop(tenant, None)) is not None:
            await store.close()

    def apart(self) -> dict[str, Store | None]:
        """Return the own store of each tenant that is known to have one; None: it is not open here."""
        return {**dict.fromkeys(self._missing), **self._apart}

    def all(self) -> Sequence[Store]:
        """Return every store, main first."""
        return (self.main,)

    def sort(self, messages: Iterable[T]) -> list[tuple[Store, list[T]]]:
        """Return ``messages`` by the store of their tenant, order kept within each."""
        groups: dict[str, tuple[Store, list[T]]] = {}
        for message in messages:
            store = self.of(message.tenant)
            groups.setdefault(store.name, (store, []))[1].append(message)
        return list(groups.values())

    async def close(self) -> None:
        for store in (self.main, *self._apart.values()):
            await store.close()
