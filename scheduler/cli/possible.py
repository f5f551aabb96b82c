"""Looks for jobs that no live executor could ever run."""

from typing import TYPE_CHECKING, Final

import typer

from scheduler.cli.shared import ask, lease_s

if TYPE_CHECKING:
    from scheduler.config import Settings
    from scheduler.definitions.model import Definitions
    from scheduler.store.stores import Store

_PATIENCE_S: Final = 5.0


async def impossible_now(store: "Store", settings: "Settings", definitions: "Definitions") -> dict[str, str]:
    """Return the jobs of ``definitions`` that no executor alive now could run, and why."""
    from scheduler.store.executors import find_impossible

    return await find_impossible(store, definitions.jobs, lease_s=lease_s(settings))


def impossible_if_known(context: typer.Context, definitions: "Definitions") -> dict[str, str]:
    """Return the same where a database is named or runs, and answers soon; else nothing is known."""
    import asyncio

    from scheduler.errors import SchedulerError

    async def question(store: "Store", settings: "Settings") -> dict[str, str]:
        async with asyncio.timeout(_PATIENCE_S):
            return await impossible_now(store, settings, definitions)

    try:
        return ask(context, question, of_tenant=False)
    except (SchedulerError, TimeoutError):
        return {}
