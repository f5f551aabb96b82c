"""``scheduler broker``: exchanges and queues, as an operator."""

from typing import TYPE_CHECKING, Final

import typer

from scheduler.cli import broker_users
from scheduler.cli.shared import Json, load

if TYPE_CHECKING:
    from scheduler.cli.vhosts import Report, Work
    from scheduler.config import Settings
    from scheduler.store.control import MadeDue
    from scheduler.transport.amqp_admin import Admin
    from scheduler.transport.topology import Topology

broker = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The broker's exchanges and queues.")

_UNREACHABLE: Final = 69
"""Exit code when not everything of tenants could be reached."""


@broker.command()
def declare(context: typer.Context, *, json: Json = False) -> None:
    """Examples:

      AMQP_URL=amqp://… DATABASE_URL=postgresql://… scheduler broker declare

    Make what is missing and bring limits up to date, also in vhosts that tenants have to themselves. Pools and
    tenants are read from the database. Exit 69 when such a vhost could not be reached: the others are done.
    """

    async def work(operator: "Admin", parts: "Topology") -> list[str]:
        return await operator.declare(parts)

    raise typer.Exit(_report(_as_operator(context, work), "done", "everything is there", as_json=json))


@broker.command()
def check(context: typer.Context, *, json: Json = False) -> None:
    """Examples:

      scheduler broker check

    Compare every vhost with what should be there; exit 1 when something differs, 69 when one was not reached.
    """

    async def work(operator: "Admin", parts: "Topology") -> list[str]:
        return await operator.check(parts)

    found = _as_operator(context, work)
    code = _report(found, "differences", "everything is as it should be", as_json=json)
    raise typer.Exit(code or (1 if found.lines else 0))


@broker.command()
def rebuild(context: typer.Context, *, json: Json = False) -> None:
    """Examples:

      scheduler broker rebuild

    Drop every queue with what is in it, make all anew, and have everything owed said again: by the main database,
    and those that tenants have. Nothing is lost: they know what is owed. Exit 69 when one of a tenant, or its
    vhost, was not reached: its sweeps say it when they are due.
    """
    import asyncio

    from scheduler.cli.output import print_json, print_line

    async def work(operator: "Admin", parts: "Topology") -> list[str]:
        await operator.wipe(parts)
        return await operator.declare(parts)

    made = _as_operator(context, work)
    due = asyncio.run(_owe(load(context).settings, made))
    if json:
        owed = {"firings": due.firings, "offers": due.offers, "ends": due.ends}
        print_json({"done": made.lines, "owed": owed, "troubles": made.troubles})
    else:
        print_line(f"made {len(made.lines)} exchanges and queues")
        print_line(f"owed: {due.firings} firings, {due.offers} offers, {due.ends} ends")
        _say_troubles(made)
    raise typer.Exit(_UNREACHABLE if made.troubles else 0)


async def _owe(settings: "Settings", made: "Report") -> "MadeDue":
    """Have what every database owes said again; add those that are not reached, whose sweeps will find it."""
    from scheduler.client.opening import open_store
    from scheduler.errors import ConfigurationError, TransientError
    from scheduler.store.control import make_owed_due
    from scheduler.store.registry import list_homes, store_of

    insecure = settings.insecure_database
    async with open_store(settings, name="cli", of_tenant=False) as main:
        due = await make_owed_due(main)
        for tenant in await list_homes(main):
            try:
                async with store_of(main, tenant, name="cli", allow_insecure=insecure) as store:
                    due += await make_owed_due(store)
            except (TransientError, ConfigurationError) as error:
                made.troubles.setdefault(tenant, str(error))
    return due


def _as_operator(context: typer.Context, work: "Work") -> "Report":
    import asyncio

    from scheduler.cli.vhosts import work_on_all

    return asyncio.run(work_on_all(load(context).settings, work))


def _report(found: "Report", key: str, nothing: str, *, as_json: bool) -> int:
    """Print what was done or found; return the exit code."""
    from scheduler.cli.output import print_json, print_line

    if as_json:
        print_json({key: found.lines, "troubles": found.troubles})
    else:
        for line in found.lines or ([] if found.troubles else [nothing]):
            print_line(line)
        _say_troubles(found)
    return _UNREACHABLE if found.troubles else 0


def _say_troubles(found: "Report") -> None:
    from scheduler.cli.output import print_line

    for tenant, why in found.troubles.items():
        print_line(f"{tenant}: {why}")


def register(app: typer.Typer) -> None:
    broker_users.register(broker)
    app.add_typer(broker, name="broker")
