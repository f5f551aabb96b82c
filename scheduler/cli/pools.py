"""``scheduler pool``."""

from typing import TYPE_CHECKING, Annotated

import typer

from scheduler.cli.shared import Json, ask

if TYPE_CHECKING:
    from scheduler.config import Settings
    from scheduler.store.stores import Store
    from schemas.definitions_file import PoolSpec

pool = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Pools of executors.")


@pool.command(name="list")
def list_all(context: typer.Context, *, json: Json = False) -> None:
    """List the pools: how many runs may wait on the queue of each, and what an executor has to have to join."""
    from scheduler.cli.output import print_json, print_rows
    from scheduler.store.pools import list_pool_specs

    async def question(store: "Store", _settings: "Settings") -> "dict[str, PoolSpec]":
        return await list_pool_specs(store)

    specs = ask(context, question, of_tenant=False)
    found = [{"name": name, **spec.model_dump(mode="json")} for name, spec in specs.items()]
    if json:
        print_json({"pools": found})
        return
    print_rows(found, ("name", "queue_limit", "handlers", "labels"), empty="no pools")


@pool.command(name="set")
def set_one(
    context: typer.Context,
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The pool.")],
    queue_limit: Annotated[
        int | None,
        typer.Option("--queue-limit", min=1, max=100_000, help="At most this many runs wait on its queue (1000)."),
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", help="An executor needs it to join, as in gpu=a100; repeatable.")
    ] = None,
    handler: Annotated[
        list[str] | None, typer.Option("--handler", help="An executor needs it to join; repeatable.")
    ] = None,
    open_to_all: Annotated[bool, typer.Option("--open", help="Demand no labels and handlers any more.")] = False,
    json: Json = False,
) -> None:
    """Examples:

      scheduler pool set gpu --queue-limit 100 --label gpu=a100

    Make a pool, or change what is given. An executor without its labels and handlers takes nothing
    of it, and says so. A running `scheduler up` makes its queue at once; for a broker with
    actors of their own, `scheduler broker declare` does.
    """
    from pydantic import TypeAdapter, ValidationError

    from scheduler.cli.output import print_json, print_line
    from scheduler.store.pools import list_pool_specs, set_pool
    from schemas.labels import read_labels
    from schemas.message import Name

    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError:
        raise typer.BadParameter(f"{name!r} is no name: lower case letters, digits, - and _, at most 63") from None

    try:
        labels = read_labels(label or ()) if label or open_to_all else None
    except ValueError as error:
        raise typer.BadParameter(f"--label: {error}") from None
    handlers = handler or () if handler or open_to_all else None

    async def question(store: "Store", _settings: "Settings") -> "tuple[bool, PoolSpec]":
        changed = await set_pool(store, name, queue_limit, handlers=handlers, labels=labels)
        return changed, (await list_pool_specs(store))[name]

    changed, spec = ask(context, question, of_tenant=False)
    if json:
        print_json({"name": name, **spec.model_dump(mode="json"), "changed": changed})
    else:
        after = "; without `scheduler up`, run `scheduler broker declare` to make its queue"
        print_line(f"{name}: at most {spec.queue_limit} wait{after}" if changed else f"{name}: as it was")


def register(app: typer.Typer) -> None:
    app.add_typer(pool, name="pool")
