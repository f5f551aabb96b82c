"""``scheduler key``."""

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from scheduler.cli.shared import Json, ask

if TYPE_CHECKING:
    from scheduler.config import Settings
    from scheduler.store.stores import Store

key = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Keys of the HTTP interface.")

KeyName = Annotated[str, typer.Argument(metavar="NAME", help="The key.")]
_COLUMNS: Final = ("name", "role", "state", "expires_at", "last_used_at", "created_at")


@key.command()
def create(
    context: typer.Context,
    *,
    name: KeyName,
    role: Annotated[str, typer.Option("--role", help="viewer, operator, author or admin.")] = "viewer",
    expires: Annotated[str, typer.Option("--expires", help="After so long it is worth nothing; never.")] = "90d",
    json: Json = False,
) -> None:
    """Examples:

      scheduler key create ci --role operator --expires 30d

    Make a key of the tenant and print it, this once: only its SHA-256 is kept. Whoever shows it may what its role may.
    """
    from datetime import timedelta

    from pydantic import TypeAdapter, ValidationError

    from scheduler.cli.output import print_json, print_line
    from scheduler.clock import SystemClock
    from scheduler.domain.access import Role
    from scheduler.store.api_keys import create_key
    from schemas.durations import parse_duration
    from schemas.message import Name

    if role not in set(Role):
        raise typer.BadParameter(f"--role: {role!r} is none of {', '.join(Role)}")
    try:
        TypeAdapter(Name).validate_python(name)
        span = None if expires == "never" else parse_duration(expires)
    except ValidationError:
        raise typer.BadParameter(f"{name!r} is no name: lower case letters, digits, - and _, at most 63") from None
    except ValueError as error:
        raise typer.BadParameter(f"--expires: {error}") from None
    if span is not None and span <= timedelta(0):
        raise typer.BadParameter("--expires: must be longer than 0s")
    clock = SystemClock()
    expires_at = None if span is None else clock.now() + span

    async def question(store: "Store", settings: "Settings") -> str:
        return await create_key(store, settings.tenant, name, Role(role), expires_at=expires_at, clock=clock)

    made = ask(context, question, in_main=True)
    if json:
        print_json({"name": name, "role": role, "expires_at": expires_at, "key": made})
    else:
        print_line(made)


@key.command(name="list")
def list_all(context: typer.Context, *, json: Json = False) -> None:
    """List the keys of the tenant, and when each was used last; never the keys themselves."""
    from scheduler.cli.output import print_json, print_rows
    from scheduler.clock import SystemClock
    from scheduler.store.api_keys import list_keys

    async def question(store: "Store", settings: "Settings") -> list[dict[str, Any]]:
        return await list_keys(store, settings.tenant)

    now = SystemClock().now()
    found = [row | {"state": _state(row, now)} for row in ask(context, question, in_main=True)]
    if json:
        print_json({"keys": found})
        return
    print_rows(found, _COLUMNS, empty="no keys: scheduler key create NAME")


@key.command()
def revoke(context: typer.Context, *, name: KeyName, json: Json = False) -> None:
    """Make a key, given by its name or id, worth nothing from the next request on."""
    from scheduler.cli.output import print_json, print_line
    from scheduler.store.api_keys import revoke_key

    async def question(store: "Store", settings: "Settings") -> str:
        return await revoke_key(store, settings.tenant, name)

    revoked = ask(context, question, in_main=True)
    if json:
        print_json({"name": revoked, "revoked": True})
    else:
        print_line(f"{revoked}: revoked")


def _state(row: dict[str, Any], now: Any) -> str:
    if row["revoked_at"] is not None:
        return "revoked"
    return "expired" if row["expires_at"] is not None and row["expires_at"] <= now else "good"


def register(app: typer.Typer) -> None:
    app.add_typer(key, name="key")
