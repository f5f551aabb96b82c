"""Many runs at once: started together or not at all, waited for together, and cancelled."""

import asyncio
from datetime import timedelta
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Body, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from scheduler.api.problems import ProblemError
from scheduler.api.route import ApiRoute, Call, Calling, needs
from scheduler.api.run_routes import Cancel
from scheduler.api.shapes import Fired, Shape
from scheduler.api.wants import Moment, Trace, Want
from scheduler.domain.access import Action
from scheduler.store.cancelling import CancelFilter, cancel_runs, list_cancellable
from scheduler.store.control import Asked, trigger_jobs
from scheduler.store.reading import Row, get_flow
from scheduler.store.waiting import is_over, wait_for_ends
from schemas.durations import Duration
from schemas.json_values import JsonObject
from schemas.message import Name
from schemas.vocabulary import RunState

_LONGEST_WAIT: Final = timedelta(minutes=5)

batches = APIRouter(tags=["runs"], route_class=ApiRoute)


class One(Want):
    job: Name
    params: JsonObject | None = None


class BatchWanted(Want):
    runs: Annotated[list[One], Field(min_length=1, max_length=100)]
    wait: Annotated[Duration | None, Field(le=_LONGEST_WAIT)] = None
    """Answer when all are over, or after so long as they stand then: at most 5m."""


class Batch(Shape):
    runs: list[Fired]
    """In the order in which they were asked for."""
    over: bool
    """Nothing more comes of any of them."""


class CancelMany(Cancel):
    """Every key narrows what is cancelled; without one, `all` has to be true."""

    job: Name | None = None
    flow: UUID | None = None
    states: Annotated[list[RunState], Field(min_length=1, max_length=len(RunState))] | None = None
    """Those of runs that are over name none."""
    pool: Name | None = None
    since: Moment | None = None
    """Made then or later."""
    all: bool = False
    """Every run that is not over."""


class CancelledMany(Shape):
    found: int
    cancelled: int
    """Over now."""
    asked: int
    """They run: their executors were asked to stop them."""


@batches.post("/runs:batch", status_code=202, openapi_extra=needs(Action.OPERATE), responses={200: {"model": Batch}})
async def start_batch(call: Calling, wanted: BatchWanted, *, traceparent: Trace = None) -> Batch:
    """Fire jobs now, all of them or none (202); with wait, answer 200 when all of their runs are over."""
    asked: list[Asked] = []
    for one in wanted.runs:
        asked += await trigger_jobs(
            call.store, call.tenant, [one.job], params=one.params, clock=call.clock, traceparent=traceparent
        )
    if wanted.wait:
        seconds = wanted.wait / timedelta(seconds=1)
        call.afterwards = lambda: _waited(call, asked, seconds)
    return Batch(runs=[Fired(firing=one.firing_id, job=one.job) for one in asked], over=False)


@batches.post("/runs:cancel", status_code=202, openapi_extra=needs(Action.OPERATE))
async def cancel_many_runs(call: Calling, wanted: CancelMany) -> CancelledMany:
    """Cancel the runs that are not over and that the keys name; those that run are asked to stop, then killed."""
    which = CancelFilter(wanted.job, wanted.flow, wanted.states, wanted.pool, wanted.since)
    if wanted.all is (which != CancelFilter()):
        raise ProblemError(422, "give all, or what the runs are to have, not both", code="filter_missing")
    return await _cancelled(call, which, wanted.reason)


@batches.post("/flows/{flow_id}/cancel", status_code=202, openapi_extra=needs(Action.OPERATE))
async def cancel_flow(
    call: Calling, flow_id: UUID, wanted: Annotated[Cancel, Body(default_factory=Cancel)]
) -> CancelledMany:
    """Cancel what is not over of a flow: a job and everything downstream of it."""
    await get_flow(call.store, call.tenant, flow_id)
    return await _cancelled(call, CancelFilter(flow=flow_id), wanted.reason)


async def _cancelled(call: Call, which: CancelFilter, reason: str | None) -> CancelledMany:
    runs = await list_cancellable(call.store, call.tenant, which)
    done = await cancel_runs(call.store, call.tenant, runs, reason=reason or f"cancelled by {call.caller.name}")
    return CancelledMany(found=len(runs), cancelled=done.cancelled, asked=done.asked)


async def _waited(call: Call, asked: list[Asked], seconds: float) -> Response:
    seen: dict[UUID, Row] = {}
    try:
        async with asyncio.timeout(seconds):
            await wait_for_ends(call.store, [one.firing_id for one in asked], seen, call.clock)
    except TimeoutError:
        pass  # the answer says which of them are over
    rows = [seen.get(one.firing_id) for one in asked]
    over = all(row is not None and is_over(row) for row in rows)
    shown = [_shown(one, row) for one, row in zip(asked, rows, strict=True)]
    return JSONResponse(Batch(runs=shown, over=over).model_dump(mode="json"), 200 if over else 202)


def _shown(asked: Asked, row: Row | None) -> Fired:
    told: dict[str, Any] = {"firing": asked.firing_id, "job": asked.job}
    if row is not None:
        told |= {name: row[name] for name in ("verdict", "state", "outcome", "result")}
        told |= {"run": row["run_id"], "reason": row["run_reason"] or row["reason"]}
    return Fired.model_validate(told)
