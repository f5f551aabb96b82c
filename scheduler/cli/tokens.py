"""``scheduler token``."""

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from scheduler.cli.shared import Json, ask

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scheduler.config import Settings
    from scheduler.store.stores import Store

token = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Tokens (JWT) of the issuer that are worth nothing any more."
)

_COLUMNS: Final = ("kind", "value", "revoked_at")
_LONGEST: Final = 255


@token.command()
def revoke(
    context: typer.Context,
    *,
    token_id: Annotated[str | None, typer.Option("--id", help="The claim jti: that one token.")] = None,
    subject: Annotated[
        str | None, typer.Option("--subject", help="The claim sub: all that were issued until now.")
    ] = None,
    json: Json = False,
) -> None:
    """Examples:

      scheduler token revoke --id 9f86d081

      scheduler token revoke --subject ann@example.com

    Refuse one token, or all of a subject that were issued until now, from the next request on.
    """
    from scheduler.cli.output import print_json, print_line
    from scheduler.store.revoked_tokens import TokenMark, revoke_tokens

    mark, value = (TokenMark.ID, token_id) if subject is None else (TokenMark.SUBJECT, subject)
    if value is None or (token_id is not None and subject is not None):
        raise typer.BadParameter("give one of --id and --subject")
    if not 0 < len(value) <= _LONGEST:
        raise typer.BadParameter(f"a token's {mark} has 1 to {_LONGEST} characters")

    async def question(store: "Store", _settings: "Settings") -> None:
        await revoke_tokens(store, mark, value)

    ask(context, question, in_main=True)
    if json:
        print_json({"kind": mark.value, "value": value, "revoked": True})
    else:
        print_line(f"{mark} {value}: revoked")


@token.command(name="list")
def list_all(context: typer.Context, *, json: Json = False) -> None:
    """List what was revoked: token ids, and subjects with the time until which their tokens are refused."""
    from scheduler.cli.output import print_json, print_rows
    from scheduler.store.revoked_tokens import list_revoked

    async def question(store: "Store", _settings: "Settings") -> "list[Mapping[str, Any]]":
        return await list_revoked(store)

    found = ask(context, question, in_main=True)
    if json:
        print_json({"revoked": found})
        return
    print_rows(found, _COLUMNS, empty="nothing is revoked")


def register(app: typer.Typer) -> None:
    app.add_typer(token, name="token")
