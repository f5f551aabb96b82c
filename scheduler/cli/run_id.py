"""Which run a person means: an id, or enough of its beginning."""

from typing import TYPE_CHECKING, Annotated, Final
from uuid import UUID

import typer

if TYPE_CHECKING:
    from scheduler.store.stores import Store

_SHORTEST: Final = 8
_WHOLE: Final = 32
_MOST_SHOWN: Final = 10


def _checked(text: str) -> str:
    digits = text.replace("-", "").lower()
    if not _SHORTEST <= len(digits) <= _WHOLE or not set(digits) <= set("0123456789abcdef"):
        raise typer.BadParameter(f"{text!r} is no run id: give all of it, or its first {_SHORTEST} or more characters")
    return digits


RunId = Annotated[
    str,
    typer.Argument(metavar="ID", help="The run: its id, or the first 8 or more characters of it.", callback=_checked),
]
"""The hexadecimal digits that were given."""
OptionalRunId = Annotated[
    str | None,
    typer.Argument(
        metavar="[ID]",
        help="The run: its id, or the first 8 or more characters of it.",
        callback=lambda text: None if text is None else _checked(text),
    ),
]
OfFlow = Annotated[
    str | None,
    typer.Option(
        "--flow",
        metavar="ID",
        help="Only runs of the same flow as this run.",
        callback=lambda text: None if text is None else _checked(text),
    ),
]


async def find_run(store: "Store", tenant: str, digits: str) -> UUID:
    """Return the one run of ``tenant`` whose id begins with ``digits``; a whole id is taken as it is.

    Raises:
        NotFoundError: there is none.
        BadParameter: there are several; says which.
    """
    from scheduler.errors import NotFoundError
    from scheduler.store.reading import list_runs_between

    least, greatest = UUID(digits.ljust(_WHOLE, "0")), UUID(digits.ljust(_WHOLE, "f"))
    if least == greatest:
        return least
    found = await list_runs_between(store, tenant, least, greatest, limit=_MOST_SHOWN + 1)
    if not found:
        raise NotFoundError(f"there is no run whose id begins with {digits}")
    if len(found) > 1:
        shown = ", ".join(f"{row['id']} ({row['job']}, {row['state']})" for row in found[:_MOST_SHOWN])
        more = ", …" if len(found) > _MOST_SHOWN else ""
        raise typer.BadParameter(f"{digits} begins the ids of several runs: {shown}{more}")
    run_id: UUID = found[0]["id"]
    return run_id
