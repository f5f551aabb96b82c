"""Many runs at once: started together or not at all, and waited for together."""

import asyncio
from datetime import timedelta
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from scheduler.api.route import ApiRoute, Call, Calling, needs
from scheduler.api.shapes import Fired, Shape
from scheduler.api.wants import Trace, Want
from scheduler.domain.access import Action
from scheduler.store.control import Asked, trigger_jobs
from scheduler.store.reading import Row
from scheduler.store.waiting import is_over, wait_for_ends
from schemas.durations import Duration
from schemas.json_values import JsonObject
from schemas.message import Name

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
