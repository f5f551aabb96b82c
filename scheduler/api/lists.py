"""Lists in pages: how many, from where, and the way to the next page."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

from fastapi import Query, Response

from scheduler.api.cursors import make_cursor, read_cursor
from scheduler.api.route import Call

Limit = Annotated[int, Query(ge=1, le=200, description="At most this many.")]
Cursor = Annotated[str | None, Query(max_length=128, description="`next` of the page before.")]


async def page_start(call: Call, filters: Mapping[str, Any], cursor: str | None) -> UUID | None:
    """Return behind which id the page begins; None: it is the first.

    Raises:
        ProblemError: 400, the cursor is not one of this list with these filters.
    """
    bound = {"path": call.request.url.path, **filters}
    return read_cursor(await call.site.cursor_secret(), call.tenant, bound, cursor)


async def next_page(
    call: Call, filters: Mapping[str, Any], found: Sequence[Mapping[str, Any]], limit: int, response: Response
) -> str | None:
    """Return the cursor of the next page, and say its address in Link; None when this is the last."""
    if len(found) < limit:
        return None
    path = call.request.url.path
    cursor = make_cursor(await call.site.cursor_secret(), call.tenant, {"path": path, **filters}, found[-1]["id"])
    given = [(name, value) for name, value in call.request.query_params.multi_items() if name != "cursor"]
    response.headers["Link"] = f'<{path}?{urlencode([*given, ("cursor", cursor)])}>; rel="next"'
    return cursor
