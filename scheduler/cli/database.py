"""``scheduler db``."""

import typer

from scheduler.cli.shared import Json, load

database = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The database's schema.")


@database.command()
def migrate(context: typer.Context, *, json: Json = False) -> None:
    """Examples:

      DATABASE_URL=postgresql://… scheduler db migrate

    Bring the database to this program's schema. Harmless when it is; safe to run many at once.
    """
    import asyncio

    from scheduler.cli.output import print_json, print_line
    from scheduler.client.opening import find_database
    from scheduler.store.migrate import migrate as migrate_database

    applied = asyncio.run(migrate_database(find_database(load(context).settings)))
    if json:
        print_json({"applied": applied})
        return
    for name in applied:
        print_line(f"applied {name}")
    if not applied:
        print_line("the schema is current")


def register(app: typer.Typer) -> None:
    app.add_typer(database, name="db")
