"""Finds the database of a scheduler and opens it for commands and clients."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from scheduler.config import Settings
from scheduler.domain.audit import DEFAULT_TENANT
from scheduler.embedded.sockets import find_running
from scheduler.errors import DatabaseUnavailableError, NotFoundError
from scheduler.store.audit import person
from scheduler.store.database_url import check_database_url
from scheduler.store.migrate import check_schema
from scheduler.store.reading import has_tenant
from scheduler.store.registry import list_homes, store_of
from scheduler.store.stores import Store, Stores


@asynccontextmanager
async def open_store(
    settings: Settings,
    *,
    name: str,
    of_tenant: bool = True,
    home: str | None = None,
    in_main: bool = False,
    of_executors: bool = False,
) -> AsyncIterator[Store]:
    """Open the store that the tenant of ``settings`` lives in; ``name`` shows in pg_stat_activity and in the audit log.

    ``of_tenant=False``: for questions that the tenant has no part in; then it is the main store, or that of
    ``home``, a tenant that need not be there yet. ``in_main``: the main store, wherever the tenant lives.
    ``of_executors``: the one that hears the executors which serve the tenant.

    Raises:
        DatabaseUnavailableError: there is none, or its schema is not this program's.
        NotFoundError: there is no such tenant.
    """
    by = person(name, settings.tenant)
    stores = await Stores.open(find_database(settings), name=name, size=2, by=by)
    try:
        async with stores.main.connection() as db:
            if (wrong := await check_schema(db)) is not None:
                raise DatabaseUnavailableError(wrong)
        if of_tenant and settings.tenant != DEFAULT_TENANT and not await has_tenant(stores.main, settings.tenant):
            raise NotFoundError(f"there is no tenant {settings.tenant}")
        lives = settings.tenant if of_tenant else home
        if of_executors and getattr((await list_homes(stores.main)).get(settings.tenant), "broker", None):
            lives = settings.tenant
        if lives is None or in_main:
            yield stores.main
        else:
            insecure = settings.insecure_database
            async with store_of(stores.main, lives, name=name, allow_insecure=insecure) as store:
                yield store
    finally:
        await stores.close()


def find_database(settings: Settings) -> str:
    """Return the DSN of the named database, else of the `scheduler up` that runs on the data directory.

    Raises:
        DatabaseUnavailableError: neither is there.
        ConfigurationError: it would be reached in plain text on another host.
    """
    if settings.database_url is not None:
        url = settings.database_url.get_secret_value()
        check_database_url(url, allow_insecure=settings.insecure_database)
        return url
    dsn = find_running(settings.data_dir)
    if dsn is None:
        raise DatabaseUnavailableError(
            f"no database: nothing runs on {settings.data_dir}; start `scheduler up`, or set DATABASE_URL"
        )
    return dsn
