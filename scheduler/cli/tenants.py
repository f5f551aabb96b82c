"""``scheduler tenant``."""

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from scheduler.cli.shared import Json, ask, lease_s

if TYPE_CHECKING:
    from scheduler.config import Settings
    from scheduler.store.stores import Store

tenant = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Tenants: quotas, shares, databases of their own."
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The tenant.")]
Weight = Annotated[int | None, typer.Option("--weight", min=1, max=1000, help="Its share of a pool, against others'.")]
Jobs = Annotated[str | None, typer.Option("--max-jobs", help="Quota: so many jobs; none: no limit.")]
Runs = Annotated[str | None, typer.Option("--max-runs-per-minute", help="Quota: so many runs start in a minute; none.")]
Storage = Annotated[str | None, typer.Option("--max-storage", help="Quota of what it stores, as in 10GiB; none.")]
Database = Annotated[
    str | None,
    typer.Option("--database", help="A database of its own: where its DSN is found, {env:NAME} or {file:PATH}."),
]
Broker = Annotated[
    str | None,
    typer.Option("--broker", help="A vhost of its own: where its URL is found, {env:NAME} or {file:PATH}."),
]
_COLUMNS: Final = (
    "name", "suspended_at", "weight", "jobs", "max_jobs", "max_runs_per_minute", "stores", "max_storage", "database",
    "broker", "trouble",
)  # fmt: skip
_AFTER: Final = "; without `scheduler up`, run `scheduler broker declare` to make its queues"


@tenant.command()
def create(
    context: typer.Context,
    *,
    name: Name,
    weight: Weight = None,
    max_jobs: Jobs = None,
    max_runs_per_minute: Runs = None,
    max_storage: Storage = None,
    database: Database = None,
    broker: Broker = None,
    json: Json = False,
) -> None:
    """Examples:

      scheduler tenant create shop --weight 2 --max-jobs 500

      scheduler tenant create bank --database '{env:BANK_DATABASE_URL}'

      scheduler tenant create bank --database '{env:BANK_DATABASE_URL}' --broker '{env:BANK_AMQP_URL}'

    Make a tenant. With a database of its own, that database gets the schema first; afterwards
    `scheduler broker declare` makes its queues, and actors that run take it up by themselves. With a
    vhost of its own too, its events and its work are there, for executors that are started there.
    """
    from scheduler.cli.tenant_places import place_of
    from scheduler.store.moving import found_tenant
    from scheduler.store.tenants import Terms, create_tenant

    _check_name(name)
    if broker is not None and database is None:
        raise typer.BadParameter("--broker: a vhost of its own is for a tenant with a database of its own: --database")
    terms = Terms(**_given(weight, max_jobs, max_runs_per_minute, max_storage))

    async def question(store: "Store", settings: "Settings") -> None:
        if database is None:
            await create_tenant(store, name, terms)
        else:
            await found_tenant(store, name, terms, place_of(name, database, settings, broker))

    ask(context, question, of_tenant=False)
    after = "" if database is None else _AFTER
    if broker is not None:
        after = "; run `scheduler broker declare`, and executors in its vhost"
    _say({"name": name, "database": database, "broker": broker}, f"{name}: made{after}", as_json=json)


@tenant.command(name="set")
def set_one(
    context: typer.Context,
    *,
    name: Name,
    weight: Weight = None,
    max_jobs: Jobs = None,
    max_runs_per_minute: Runs = None,
    max_storage: Storage = None,
    broker: Annotated[str | None, typer.Option("--broker", help="Its own vhost, as in `create`; none.")] = None,
    json: Json = False,
) -> None:
    """Examples:

      scheduler tenant set shop --max-runs-per-minute 600 --max-storage none

      scheduler tenant set bank --broker '{env:BANK_AMQP_URL}'

    Change a tenant's share and quotas, or where its work and events are. What is not named stays as it
    is. A vhost of its own is for a tenant with a database of its own, and changes while it is suspended.
    """
    from dataclasses import asdict

    from scheduler.cli.tenant_places import set_broker
    from scheduler.store.tenants import change_tenant

    changes = _given(weight, max_jobs, max_runs_per_minute, max_storage)

    async def question(store: "Store", settings: "Settings") -> dict[str, Any]:
        async with _home(store, name, settings) as home:
            if broker is not None:
                await set_broker(store, home, broker, settings)
            return asdict(await change_tenant(home, name, changes))

    terms = ask(context, question, of_tenant=False)
    _say({"name": name, **terms}, f"{name}: " + ", ".join(f"{k} {_shown(v)}" for k, v in terms.items()), as_json=json)


@tenant.command(name="list")
def list_all(context: typer.Context, *, json: Json = False) -> None:
    """List the tenants, also of databases of their own, with what is wrong there: not reached, or not served."""
    from scheduler.cli.output import print_json, print_rows
    from scheduler.cli.tenant_list import list_everywhere
    from scheduler.clock import SystemClock
    from schemas.sizes import format_size

    async def question(store: "Store", settings: "Settings") -> list[dict[str, Any]]:
        today, insecure = SystemClock().now().date(), settings.insecure_database
        return await list_everywhere(store, allow_insecure=insecure, lease_s=lease_s(settings), today=today)

    found = ask(context, question, of_tenant=False)
    if json:
        print_json({"tenants": found})
        return
    sizes = [
        {
            "stores": format_size(row["storage_bytes"]) if row["max_storage_bytes"] is not None else None,
            "max_storage": None if row["max_storage_bytes"] is None else format_size(row["max_storage_bytes"]),
        }
        for row in found
    ]
    print_rows([row | size for row, size in zip(found, sizes, strict=True)], _COLUMNS, empty="no tenants")


@tenant.command()
def suspend(
    context: typer.Context,
    *,
    name: Name,
    note: Annotated[str | None, typer.Option("--note", help="Why, for people.")] = None,
    json: Json = False,
) -> None:
    """Start nothing more of a tenant. What executors hold goes on; its firings say tenant_suspended."""
    from scheduler.clock import SystemClock
    from scheduler.store.tenants import Suspended, suspend_tenant

    async def question(store: "Store", settings: "Settings") -> Suspended:
        async with _home(store, name, settings) as home:
            return await suspend_tenant(home, name, note=note, clock=SystemClock())

    done = ask(context, question, of_tenant=False)
    state = "suspended" if done.changed else "was suspended already"
    going_on = f"; {done.out} runs that executors hold go on, {done.held} wait for `tenant activate`"
    _say(
        {"name": name, "changed": done.changed, "going_on": done.out, "held": done.held},
        f"{name}: {state}{going_on}",
        as_json=json,
    )


@tenant.command()
def activate(context: typer.Context, *, name: Name, json: Json = False) -> None:
    """Start what belongs to a tenant again; what fell into the suspension is caught up with as after a pause."""
    from scheduler.clock import SystemClock
    from scheduler.store.tenants import activate_tenant

    async def question(store: "Store", settings: "Settings") -> bool:
        async with _home(store, name, settings) as home:
            return await activate_tenant(home, name, clock=SystemClock())

    changed = ask(context, question, of_tenant=False)
    _say({"name": name, "changed": changed}, f"{name}: {'activated' if changed else 'as it was'}", as_json=json)


@tenant.command()
def migrate(
    context: typer.Context,
    *,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only this one.")] = None,
    json: Json = False,
) -> None:
    """Bring the databases of tenants to this program's schema. Exit 69 when some could not be reached."""
    from scheduler.cli.tenant_list import migrate_apart, say_migrated
    from scheduler.errors import NotFoundError

    async def question(store: "Store", settings: "Settings") -> dict[str, Any]:
        found = await migrate_apart(store, name, allow_insecure=settings.insecure_database)
        if name is not None and not found:
            raise NotFoundError(f"there is no tenant {name} with a database of its own")
        return found

    raise typer.Exit(say_migrated(ask(context, question, of_tenant=False), as_json=json))


@tenant.command()
def move(
    context: typer.Context,
    *,
    name: Name,
    database: Annotated[str, typer.Option("--database", help="Where the DSN is found: {env:NAME} or {file:PATH}.")],
    drain_timeout: Annotated[str, typer.Option("--drain-timeout", help="Wait so long for its runs.")] = "60s",
    json: Json = False,
) -> None:
    """Examples:

      scheduler tenant move bank --database '{env:BANK_DATABASE_URL}'

    Move a tenant to a database of its own: suspend it, wait until no executor holds a run of it, copy
    and compare its rows, delete them here, and activate it there. Exit 4, and nothing is moved, while runs
    are active. Run `scheduler broker declare` first or right after it: its queues have names of their own.
    """
    from scheduler.cli.tenant_places import place_of
    from scheduler.clock import SystemClock
    from scheduler.store.moving import move_tenant
    from schemas.durations import parse_duration

    try:
        drain_s = parse_duration(drain_timeout).total_seconds()
    except ValueError as error:
        raise typer.BadParameter(f"--drain-timeout: {error}") from None

    async def question(store: "Store", settings: "Settings") -> dict[str, int]:
        place = place_of(name, database, settings)
        return await move_tenant(store, name, place, drain_s=drain_s, clock=SystemClock())

    moved = ask(context, question, of_tenant=False)
    said = f"{name}: {sum(moved.values())} rows moved to {database}{_AFTER}"
    _say({"name": name, "rows": moved}, said, as_json=json)


def _home(store: "Store", name: str, settings: "Settings") -> Any:
    from scheduler.store.registry import store_of

    return store_of(store, name, name="cli", allow_insecure=settings.insecure_database)


def _given(weight: int | None, jobs: str | None, runs: str | None, storage: str | None) -> dict[str, Any]:
    """Return the terms that were named; the word none takes a quota away."""
    from schemas.sizes import parse_size

    given: dict[str, Any] = {} if weight is None else {"weight": weight}
    for option, term, text, read in (
        ("--max-jobs", "max_jobs", jobs, int),
        ("--max-runs-per-minute", "max_runs_per_minute", runs, int),
        ("--max-storage", "max_storage_bytes", storage, parse_size),
    ):
        if text is None:
            continue
        try:
            given[term] = None if text == "none" else read(text)
        except ValueError as error:
            raise typer.BadParameter(f"{option}: {error}") from None
        if given[term] is not None and not 0 <= given[term] < 2**31 * (1 if read is int else 2**20):
            raise typer.BadParameter(f"{option}: {text} is out of range")
    return given


def _check_name(name: str) -> None:
    from pydantic import TypeAdapter, ValidationError

    from schemas.message import Name as TenantName

    try:
        TypeAdapter(TenantName).validate_python(name)
    except ValidationError:
        raise typer.BadParameter(f"{name!r} is no name: lower case letters, digits, - and _, at most 63") from None


def _shown(value: int | None) -> str:
    return "none" if value is None else str(value)


def _say(document: dict[str, Any], line: str, *, as_json: bool) -> None:
    from scheduler.cli.output import print_json, print_line

    if as_json:
        print_json(document)
    else:
        print_line(line)


def register(app: typer.Typer) -> None:
    app.add_typer(tenant, name="tenant")
