"""Questions put to the databases of all tenants at once: one that is down is named, and holds up no answer."""

import asyncio
from collections.abc import Mapping
from datetime import date
from typing import Any, Final

from scheduler.errors import ConfigurationError, TransientError
from scheduler.store.health import ask_health
from scheduler.store.migrate import migrate
from scheduler.store.registry import find_dsn, list_databases, store_of
from scheduler.store.stores import Store
from scheduler.store.tenants import list_tenants

UNREACHABLE: Final = 69
"""Exit code when some of the databases could not be reached."""


async def list_everywhere(main: Store, *, allow_insecure: bool, lease_s: float, today: date) -> list[dict[str, Any]]:
    """Return every tenant, as the store that it lives in knows it.

    ``trouble`` says of one in a database of its own why that is not known, or who does not work there.
    """

    async def look(row: dict[str, Any]) -> dict[str, Any]:
        if row["database"] is None:
            return row | {"trouble": None}
        try:
            async with store_of(main, row["name"], name="cli", allow_insecure=allow_insecure) as store:
                known = next((own for own in await list_tenants(store) if own["name"] == row["name"]), {})
                served = await ask_health(store, row["name"], lease_s=lease_s, today=today, history=False)
        except (TransientError, ConfigurationError) as error:
            return row | {"trouble": str(error)}
        trouble = "; ".join(f"{part}: {what}" for part, what in served.troubles.items()) or None
        return row | known | {"database": row["database"], "broker": row["broker"], "trouble": trouble}

    return list(await asyncio.gather(*map(look, await list_tenants(main))))


async def migrate_apart(main: Store, name: str | None = None, *, allow_insecure: bool) -> dict[str, list[str] | str]:
    """Migrate the databases of all tenants, or of one, side by side; return what was applied, or why not, by tenant."""

    async def bring_up(tenant: str, reference: str) -> list[str] | str:
        try:
            dsn = await asyncio.to_thread(find_dsn, tenant, reference, allow_insecure=allow_insecure)
            return await migrate(dsn)
        except (TransientError, ConfigurationError) as error:
            return str(error)

    found = {tenant: at for tenant, at in (await list_databases(main)).items() if name in {None, tenant}}
    return dict(zip(found, await asyncio.gather(*(bring_up(*pair) for pair in found.items())), strict=True))


def say_migrated(done: Mapping[str, list[str] | str], *, as_json: bool) -> int:
    """Print what became of each database; return the exit code."""
    from scheduler.cli.output import print_json, print_line

    troubles = {tenant: what for tenant, what in done.items() if isinstance(what, str)}
    if as_json:
        print_json({"applied": {t: w for t, w in done.items() if t not in troubles}, "troubles": troubles})
    else:
        for tenant, what in done.items():
            print_line(f"{tenant}: {what if isinstance(what, str) else ', '.join(what) or 'the schema is current'}")
    return UNREACHABLE if troubles else 0
