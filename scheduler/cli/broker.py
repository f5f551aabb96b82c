"""``scheduler broker``: exchanges and queues, as an operator."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import typer

from scheduler.cli import broker_users
from scheduler.cli.shared import Json, load

if TYPE_CHECKING:
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

    Make what is missing and bring limits up to date. Pools are read from the database.
    """

    async def work(operator: "Admin", parts: "Topology") -> list[str]:
        return await operator.declare(parts)

    _report(_as_operator(context, work), "done", "everything is there", as_json=json)


@broker.command()
def check(context: typer.Context, *, json: Json = False) -> None:
    """Examples:

      scheduler broker check

    Compare the broker with what should be there; exit 1 when something differs.
    """

    async def work(operator: "Admin", parts: "Topology") -> list[str]:
        return await operator.check(parts)

    differences = _as_operator(context, work)
    _report(differences, "differences", "everything is as it should be", as_json=json)
    raise typer.Exit(1 if differences else 0)


@broker.command()
def rebuild(context: typer.Context, *, json: Json = False) -> None:
    """Examples:

      scheduler broker rebuild

    Drop every queue with what is in it, make all anew, and have everything owed said again: by the main database,
    and those that tenants have. Nothing is lost: they know what is owed. Exit 69 when one of a tenant was not
    reached: its sweeps say it when they are due.
    """
    import asyncio

    from scheduler.cli.output import print_json, print_line

    async def work(operator: "Admin", parts: "Topology") -> list[str]:
        await operator.wipe(parts)
        return await operator.declare(parts)

    made = _as_operator(context, work)
    due, troubles = asyncio.run(_owe(load(context).settings))
    if json:
        owed = {"firings": due.firings, "offers": due.offers, "ends": due.ends}
        print_json({"done": made, "owed": owed, "troubles": troubles})
    else:
        print_line(f"made {len(made)} exchanges and queues")
        print_line(f"owed: {due.firings} firings, {due.offers} offers, {due.ends} ends")
        for tenant, why in troubles.items():
            print_line(f"{tenant}: {why}")
    raise typer.Exit(_UNREACHABLE if troubles else 0)


async def _owe(settings: "Settings") -> "tuple[MadeDue, dict[str, str]]":
    """Have what every database owes said again; return how much, and which was not reached, by tenant, and why."""
    from scheduler.client.opening import open_store
    from scheduler.errors import ConfigurationError, TransientError
    from scheduler.store.control import make_owed_due
    from scheduler.store.registry import list_databases, store_of

    troubles: dict[str, str] = {}
    insecure = settings.insecure_database
    async with open_store(settings, name="cli", of_tenant=False) as main:
        due = await make_owed_due(main)
        for tenant in await list_databases(main):
            try:
                async with store_of(main, tenant, name="cli", allow_insecure=insecure) as store:
                    due += await make_owed_due(store)
            except (TransientError, ConfigurationError) as error:
                troubles[tenant] = str(error)
    return due, troubles


def _as_operator(context: typer.Context, work: "Callable[[Admin, Topology], Awaitable[list[str]]]") -> list[str]:
    import asyncio

    from scheduler.errors import ConfigurationError
    from scheduler.transport.amqp_admin import admin
    from scheduler.transport.broker_url import check_broker_url, check_management_url

    settings = load(context).settings
    if settings.amqp_url is None:
        raise ConfigurationError("no broker is named: set AMQP_URL (`scheduler up` without it has one of its own)")
    url = settings.amqp_url.get_secret_value()
    check_broker_url(url, allow_insecure=settings.insecure_broker)
    management = settings.management_url.get_secret_value() if settings.management_url is not None else None
    if management is not None:
        check_management_url(management, allow_insecure=settings.insecure_broker)

    async def run() -> list[str]:
        parts = await _topology(settings)
        async with admin(url, management, queue_type=settings.queue_type) as operator:
            return await work(operator, parts)

    return asyncio.run(run())


async def _topology(settings: "Settings") -> "Topology":
    from scheduler.client.opening import open_store
    from scheduler.store.definitions import list_pools
    from scheduler.store.registry import list_databases
    from scheduler.transport.topology import topology_of

    async with open_store(settings, name="cli", of_tenant=False) as store:
        return topology_of(await list_pools(store), await list_databases(store))


def _report(lines: list[str], key: str, nothing: str, *, as_json: bool) -> None:
    from scheduler.cli.output import print_json, print_line

    document: dict[str, Any] = {key: lines}
    if as_json:
        print_json(document)
        return
    for line in lines or [nothing]:
        print_line(line)


def register(app: typer.Typer) -> None:
    broker_users.register(broker)
    app.add_typer(broker, name="broker")
