"""``scheduler pool``."""

from typing import TYPE_CHECKING, Annotated

import typer

from scheduler.cli.shared import Json, ask

if TYPE_CHECKING:
    from scheduler.config import Settings
    from scheduler.store.stores import Store

pool = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Pools of executors.")


@pool.command(name="list")
def list_all(context: typer.Context, *, json: Json = False) -> None:
    """List the pools and how many runs may wait on the queue of each."""
    from scheduler.cli.output import print_json, print_rows
    from scheduler.store.definitions import list_pools

    async def question(store: "Store", _settings: "Settings") -> dict[str, int]:
        return await list_pools(store)

    found = [{"name": name, "queue_limit": limit} for name, limit in ask(context, question, of_tenant=False).items()]
    if json:
        print_json({"pools": found})
        return
    print_rows(found, ("name", "queue_limit"), empty="no pools")


@pool.command(name="set")
def set_one(
    context: typer.Context,
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The pool.")],
    queue_limit: Annotated[
        int, typer.Option("--queue-limit", min=1, max=100_000, help="At most this many runs wait on its queue.")
    ] = 1000,
    json: Json = False,
) -> None:
    """Examples:

      scheduler pool set gpu --queue-limit 100

    Make a pool, or change it. A running `scheduler up` makes its queue at once; for a broker with
    actors of their own, `scheduler broker declare` does.
    """
    from pydantic import TypeAdapter, ValidationError

    from scheduler.cli.output import print_json, print_line
    from scheduler.store.definitions import set_pool
    from schemas.message import Name

    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError:
        raise typer.BadParameter(f"{name!r} is no name: lower case letters, digits, - and _, at most 63") from None

    async def question(store: "Store", _settings: "Settings") -> bool:
        return await set_pool(store, name, queue_limit)

    changed = ask(context, question, of_tenant=False)
    if json:
        print_json({"name": name, "queue_limit": queue_limit, "changed": changed})
    else:
        after = "; without `scheduler up`, run `scheduler broker declare` to make its queue"
        print_line(f"{name}: at most {queue_limit} wait{after}" if changed else f"{name}: as it was")


def register(app: typer.Typer) -> None:
    app.add_typer(pool, name="pool")
