"""``scheduler db``."""

import typer

from scheduler.cli.shared import Json, load

database = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The database's schema.")


@database.command()
def migrate(context: typer.Context, *, json: Json = False) -> None:
    """Examples:

      DATABASE_URL=postgresql://… scheduler db migrate

    Bring the database to this program's schema, and then those of tenants that have one of their own. Harmless
    when they are; safe to run many at once. Exit 69 when one could not be reached: the others are done.
    """
    import asyncio

    from scheduler.cli.output import print_json, print_line
    from scheduler.cli.tenant_list import UNREACHABLE, migrate_apart, say_migrated
    from scheduler.client.opening import find_database, open_store
    from scheduler.store.migrate import migrate as migrate_database

    settings = load(context).settings

    async def bring_up() -> tuple[list[str], dict[str, list[str] | str]]:
        applied = await migrate_database(find_database(settings))
        async with open_store(settings, name="cli", of_tenant=False) as main:
            return applied, await migrate_apart(main, allow_insecure=settings.insecure_database)

    applied, apart = asyncio.run(bring_up())
    if json:
        print_json({"applied": applied, "tenants": apart})
        raise typer.Exit(UNREACHABLE if any(isinstance(what, str) for what in apart.values()) else 0)
    for name in applied:
        print_line(f"applied {name}")
    if not applied:
        print_line("the schema is current")
    raise typer.Exit(say_migrated(apart, as_json=False))


def register(app: typer.Typer) -> None:
    app.add_typer(database, name="db")
