"""What commands share: options, settings, a store to speak to."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from scheduler.config import Loaded, Settings
    from scheduler.store.stores import Store

T = TypeVar("T")

DEFAULT_TENANT = "default"

DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Where `scheduler up` keeps its state.")]
TenantName = Annotated[str | None, typer.Option("--tenant", help="Whose jobs and runs.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="Configuration file (default: scheduler.toml).")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document, for programs.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=1000, help="At most this many.")]
After = Annotated[str | None, typer.Option("--after", help="Go on behind this id (`next` of the page before).")]


@dataclass(frozen=True, slots=True)
class Given:
    """The options of the command as a whole."""

    data_dir: Path | None = None
    tenant: str | None = None
    config: Path | None = None


def load(context: typer.Context, **flags: Any) -> "Loaded":
    """Return the settings under the options given; warnings go to standard error."""
    from scheduler.cli.output import say_warning
    from scheduler.config import load_settings

    given = context.find_root().obj
    everywhere = {"data_dir": given.data_dir, "tenant": given.tenant}
    loaded = load_settings(everywhere | flags, os.environ, file=given.config)
    for warning in loaded.warnings:
        say_warning(warning)
    return loaded


def ask(context: typer.Context, question: "Callable[[Store, Settings], Awaitable[T]]", *, of_tenant: bool = True) -> T:
    """Open the database that is named or runs, put ``question`` to it, and return the answer.

    ``of_tenant`` is False for questions that the tenant of the settings has no part in.

    Raises:
        DatabaseUnavailableError: there is none, or its schema is not this program's.
        NotFoundError: there is no such tenant.
    """
    import asyncio

    settings = load(context).settings

    async def answer() -> T:
        async with open_store(settings, of_tenant=of_tenant) as store:
            return await question(store, settings)

    return asyncio.run(answer())


@asynccontextmanager
async def open_store(settings: "Settings", *, of_tenant: bool = True) -> "AsyncIterator[Store]":
    from scheduler.errors import DatabaseUnavailableError, NotFoundError
    from scheduler.store.migrate import check_schema
    from scheduler.store.reading import has_tenant
    from scheduler.store.stores import Stores

    dsn = find_database(settings)
    stores = await Stores.open(dsn, name="cli", size=2)
    try:
        async with stores.main.connection() as db:
            if (wrong := await check_schema(db)) is not None:
                raise DatabaseUnavailableError(wrong)
        store = stores.of(settings.tenant)
        # The default tenant is always there; its row comes with its first job.
        if of_tenant and settings.tenant != DEFAULT_TENANT and not await has_tenant(store, settings.tenant):
            raise NotFoundError(f"there is no tenant {settings.tenant}")
        yield store
    finally:
        await stores.close()


def find_database(settings: "Settings") -> str:
    """Return the DSN of the named database, else of the `scheduler up` that runs on the data directory."""
    from scheduler.embedded.sockets import find_running
    from scheduler.errors import DatabaseUnavailableError

    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    dsn = find_running(settings.data_dir)
    if dsn is None:
        raise DatabaseUnavailableError(
            f"no database: nothing runs on {settings.data_dir}; start `scheduler up`, or set DATABASE_URL"
        )
    return dsn


def parse_time(text: str | None, option: str) -> datetime | None:
    """Return the instant that ``option`` names: a time, or how long ago."""
    from scheduler.clock import SystemClock
    from schemas.durations import parse_duration
    from schemas.spec_model import parse_moment

    if text is None:
        return None
    try:
        return SystemClock().now() - parse_duration(text)
    except ValueError:
        pass
    try:
        return parse_moment(text).astimezone()
    except ValueError:
        raise typer.BadParameter(
            f"{option}: {text!r} is no time and no duration; write 2h or 2026-03-01T02:00:00Z"
        ) from None


def lease_s(settings: "Settings") -> float:
    return settings.lease / timedelta(seconds=1)
