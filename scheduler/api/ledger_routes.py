"""The ledger, flows, dead runs: what became of what was planned."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response

from scheduler.api.firing_lists import FiringQuery, list_page
from scheduler.api.lists import Cursor, Limit, next_page, page_start
from scheduler.api.route import ApiRoute, Calling, needs
from scheduler.api.shapes import Firings, Flow, Shape
from scheduler.api.wants import Moment
from scheduler.domain.access import Action
from scheduler.store.control import discard_run
from scheduler.store.dead_runs import DeadFilter, list_dead
from scheduler.store.reading import get_flow
from schemas.vocabulary import Outcome

ledger = APIRouter(tags=["ledger"], route_class=ApiRoute)


class DeadRun(Shape):
    id: UUID
    job: str
    outcome: str | None
    reason: str | None
    attempt: int
    fired_at: datetime
    finished_at: datetime


class DeadRuns(Shape):
    dead_runs: list[DeadRun]
    next: str | None


class Discarded(Shape):
    run: UUID
    discarded: bool = True


@ledger.get("/firings", openapi_extra=needs(Action.VIEW))
async def list_all_firings(call: Calling, query: FiringQuery, response: Response, job: str | None = None) -> Firings:
    """List every planned firing, what became of it and why; what was planned latest comes first."""
    return await list_page(call, query, response, job=job)


@ledger.get("/flows/{flow_id}", openapi_extra=needs(Action.VIEW))
async def read_flow(call: Calling, flow_id: UUID) -> Flow:
    """Return the runs of one flow: a job and everything downstream of it, and what each needed."""
    return Flow.model_validate(await get_flow(call.store, call.tenant, flow_id))


@ledger.get("/dead-runs", openapi_extra=needs(Action.VIEW))
async def list_dead_runs(
    call: Calling,
    response: Response,
    *,
    job: str | None = None,
    outcome: Outcome | None = None,
    reason: Annotated[str | None, Query(max_length=200, description="A part of it.")] = None,
    since: Moment | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> DeadRuns:
    """List failed runs that used up their attempts and that nobody has dealt with, newest first."""
    filters: dict[str, Any] = {"job": job, "outcome": outcome and outcome.value, "reason": reason, "since": since}
    after = await page_start(call, filters, cursor)
    which = DeadFilter(job, outcome and outcome.value, reason, since)
    rows = await list_dead(call.store, call.tenant, which, after=after, limit=limit)
    following = await next_page(call, filters, rows, limit, response)
    return DeadRuns(dead_runs=[DeadRun.model_validate(row) for row in rows], next=following)


@ledger.post("/dead-runs/{run_id}/discard", openapi_extra=needs(Action.OPERATE))
async def discard_dead_run(call: Calling, run_id: UUID) -> Discarded:
    """Say that a dead run is dealt with; to run it again: /runs/ID/retry."""
    await discard_run(call.store, call.tenant, run_id)
    return Discarded(run=run_id)
