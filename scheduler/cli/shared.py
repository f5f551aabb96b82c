"""What commands share: options, settings, a store to speak to."""

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from scheduler.config import Loaded, Settings
    from scheduler.store.stores import Store

T = TypeVar("T")

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


def ask(
    context: typer.Context,
    question: "Callable[[Store, Settings], Awaitable[T]]",
    *,
    of_tenant: bool = True,
    home: str | None = None,
    in_main: bool = False,
    of_executors: bool = False,
) -> T:
    """Open the database that is named or runs, put ``question`` to it, and return the answer.

    ``of_tenant`` is False for questions that the tenant of the settings has no part in, but perhaps another:
    ``home``, which need not be there yet. ``in_main``: what is kept of the tenant in the main store is meant.
    ``of_executors``: the store that hears the executors which serve the tenant is asked.

    Raises:
        DatabaseUnavailableError: there is none, or its schema is not this program's.
        NotFoundError: there is no such tenant.
    """
    import asyncio

    from scheduler.client.opening import open_store

    settings = load(context).settings

    async def answer() -> T:
        async with open_store(
            settings, name="cli", of_tenant=of_tenant, home=home, in_main=in_main, of_executors=of_executors
        ) as store:
            return await question(store, settings)

    return asyncio.run(answer())


def lease_s(settings: "Settings") -> float:
    return settings.lease / timedelta(seconds=1)
