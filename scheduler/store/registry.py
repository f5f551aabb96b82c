"""Tenants in databases of their own: where each is found, and how it is opened.

The main store names, for each of them, where the DSN is found, and the URL of its vhost if it has one of
its own: ``{env:NAME}`` or ``{file:PATH}``. What is found there, with its password, is in no database.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Final

from scheduler.domain.addresses import DATABASE_SCHEMES, check_scheme
from scheduler.domain.audit import AuditAction, AuditKind, By
from scheduler.errors import ConfigurationError, DatabaseUnavailableError, NotFoundError
from scheduler.places import read_place
from scheduler.roles import ACTOR_ROLES
from scheduler.store.audit import Change, record_changes
from scheduler.store.database_url import check_database_url
from scheduler.store.doorbell import DEFINITIONS
from scheduler.store.migrate import check_schema
from scheduler.store.own_role import take_role
from scheduler.store.pool import open_pool
from scheduler.store.queries import queries
from scheduler.store.stores import MAIN, Store

Q: Final = queries("registry")
_RING: Final = queries("definitions")["ring"]


@dataclass(frozen=True, slots=True)
class Home:
    """Where a tenant with a database of its own is found: places, not what is there."""

    database: str
    broker: str | None = None
    """Of the URL of a vhost of its own; None: it is at the broker of all, with queues of its own."""


def find_dsn(tenant: str, reference: str, *, allow_insecure: bool = False) -> str:
    """Return the DSN that ``reference`` leads to, in this process's environment. Reads a small file at most.

    Raises:
        ConfigurationError: it leads nowhere, to no DSN, or to one that is not safe to use; never repeats it.
    """
    try:
        dsn = read_place(reference, "the database")
    except ConfigurationError as error:
        raise ConfigurationError(f"tenant {tenant}: {error}") from None
    try:
        check_scheme(dsn, DATABASE_SCHEMES)
        check_database_url(dsn, allow_insecure=allow_insecure)
    except (ValueError, ConfigurationError) as error:
        raise ConfigurationError(f"tenant {tenant}: {reference}: {error}") from None
    return dsn


async def list_homes(main: Store) -> dict[str, Home]:
    """Return where each tenant is found that has a database of its own."""
    async with main.connection() as db:
        return {row["name"]: Home(row["database"], row["broker"]) for row in await db.fetch(Q["list_homes"])}


async def list_databases(main: Store) -> dict[str, str]:
    """Return the reference of each tenant that has a database of its own."""
    return {tenant: home.database for tenant, home in (await list_homes(main)).items()}


async def find_database_of(main: Store, tenant: str) -> str | None:
    """Return the reference of a tenant's own database; None: it has none, or is not there."""
    async with main.connection() as db:
        found: str | None = await db.fetchval(Q["find_database"], tenant)
    return found


async def register_home(main: Store, tenant: str, home: Home) -> None:
    """Say where the database of a tenant is, which is migrated and has its row, and its vhost if it has its own.

    Raises:
        NotFoundError: there is no such tenant.
    """
    if tenant == MAIN:
        raise ConfigurationError(f"tenant {MAIN}: the store of that name is the main one; choose another")
    async with main.transaction() as db:
        if await db.fetchval(Q["register_home"], tenant, home.database, home.broker) is None:
            raise NotFoundError(f"there is no tenant {tenant}")
        done = Change(AuditAction.CHANGE, AuditKind.TENANT, tenant, after=asdict(home))
        await record_changes(db, main.by, tenant, [done])
        await db.execute(_RING, DEFINITIONS, tenant)


async def open_apart(tenant: str, dsn: str, *, name: str, size: int = 5, alone: bool = False) -> Store:
    """Open the database of a tenant, ``alone`` at its broker; an actor, named so, takes its role where it may.

    Raises:
        DatabaseUnavailableError: no connection, or its schema is not the one of this program.
    """
    if name in ACTOR_ROLES:
        dsn = await take_role(dsn, name)
    pool = await open_pool(dsn, name=name, size=size)
    store = Store(tenant, dsn, pool, By(f"system:{name}", tenant), alone=alone)
    try:
        async with store.connection() as db:
            if (wrong := await check_schema(db)) is not None:
                raise DatabaseUnavailableError(f"tenant {tenant}: {wrong}")
    except BaseException:
        await store.close()
        raise
    return store


async def copy_pools(main: Store, apart: Store) -> None:
    """Have the pools of a tenant's database be those of the main one: limits and pauses are the operator's."""
    async with main.connection() as db:
        rows = await db.fetch(Q["list_pools"])
    columns: Mapping[str, list[object]] = {
        name: [row[name] for row in rows] for name in ("name", "queue_limit", "paused_at")
    }
    async with apart.connection() as db:
        await db.execute(Q["write_pools"], *columns.values())


@asynccontextmanager
async def store_of(main: Store, tenant: str, *, name: str, allow_insecure: bool = False) -> AsyncIterator[Store]:
    """Lend the store that a tenant lives in: ``main``, or its own, which is opened for this and for the same person.

    Raises:
        DatabaseUnavailableError: its own cannot be reached from here, or has another schema.
        ConfigurationError: from here nobody knows where it is.
    """
    reference = await find_database_of(main, tenant)
    if reference is None:
        yield main
        return
    dsn = await asyncio.to_thread(find_dsn, tenant, reference, allow_insecure=allow_insecure)
    store = await open_apart(tenant, dsn, name=name, size=2)
    try:
        await copy_pools(main, store)
        yield store.acting(main.by)
    finally:
        await store.close()
