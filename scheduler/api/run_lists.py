"""Which runs to list, and a page of them."""

from datetime import datetime
from typing import Annotated

from fastapi import Depends, Query, Response
from pydantic import BaseModel

from scheduler.api.lists import Cursor, Limit, next_page, page_start
from scheduler.api.route import Call
from scheduler.api.shapes import Run, Runs
from scheduler.api.wants import Moment
from scheduler.store.reading import RunFilter, list_runs
from schemas.vocabulary import RunState


class RunWanted(BaseModel):
    states: list[RunState]
    since: datetime | None
    limit: int
    cursor: str | None


def _wanted(
    *,
    state: Annotated[list[RunState] | None, Query(description="Only in this state; repeatable.")] = None,
    since: Annotated[Moment | None, Query(description="Made then or later.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> RunWanted:
    return RunWanted(states=state or [], since=since, limit=limit, cursor=cursor)


RunQuery = Annotated[RunWanted, Depends(_wanted)]


async def runs_page(call: Call, query: RunWanted, response: Response, *, job: str | None) -> Runs:
    """Return a page of runs, newest first."""
    states = sorted({state.value for state in query.states})
    filters = {"job": job, "states": states, "since": query.since}
    after = await page_start(call, filters, query.cursor)
    which = RunFilter(job, states or None, query.since, after, query.limit)
    rows = await list_runs(call.store, call.tenant, which, lease_s=call.site.lease_s)
    following = await next_page(call, filters, rows, query.limit, response)
    return Runs(runs=[Run.model_validate(row) for row in rows], next=following)
