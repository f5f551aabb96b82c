"""Which firings to list, and a page of the ledger."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import Depends, Query, Response
from pydantic import BaseModel

from scheduler.api.lists import Cursor, Limit, next_page, page_start
from scheduler.api.route import Call
from scheduler.api.shapes import Firing, Firings
from scheduler.api.wants import Moment
from scheduler.store.ledger import UNDECIDED, FiringFilter, list_firings
from schemas.vocabulary import Verdict


class FiringWanted(BaseModel):
    verdicts: list[str]
    since: datetime | None
    until: datetime | None
    limit: int
    cursor: str | None


def _wanted(
    *,
    verdict: Annotated[list[Verdict | Literal["undecided"]] | None, Query(description="Repeatable.")] = None,
    since: Annotated[Moment | None, Query(description="Due then or later.")] = None,
    until: Annotated[Moment | None, Query(description="Due before.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> FiringWanted:
    return FiringWanted(verdicts=verdict or [], since=since, until=until, limit=limit, cursor=cursor)


FiringQuery = Annotated[FiringWanted, Depends(_wanted)]
_NAMES = {UNDECIDED, *(verdict.value for verdict in Verdict)}


async def list_page(call: Call, query: FiringWanted, response: Response, *, job: str | None) -> Firings:
    """Return a page of the ledger: of one job what was due latest first, of all what was planned latest."""
    verdicts = sorted(_NAMES & {str(verdict) for verdict in query.verdicts})
    filters = {"job": job, "verdicts": verdicts, "since": query.since, "until": query.until}
    after = await page_start(call, filters, query.cursor)
    which = FiringFilter(job, verdicts or None, query.since, query.until, after, query.limit)
    rows = await list_firings(call.store, call.tenant, which)
    following = await next_page(call, filters, rows, query.limit, response)
    return Firings(firings=[Firing.model_validate(row) for row in rows], next=following)
