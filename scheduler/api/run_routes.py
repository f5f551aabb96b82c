"""Runs: listed, looked at, cancelled, retried; what they wrote, and what holds them back."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body, Query, Response
from pydantic import Field

from scheduler.api.route import ApiRoute, Calling, needs
from scheduler.api.run_lists import RunQuery, runs_page
from scheduler.api.run_streams import ABOUT, stream_run
from scheduler.api.shapes import Attempt, Fired, Gate, Output, RunDetail, Runs, Shape, Why
from scheduler.api.streams import LastEventId, streams_too, wants_stream
from scheduler.api.wants import Trace, Want
from scheduler.domain.access import Action
from scheduler.domain.why import held_by
from scheduler.store.control import cancel_run as cancel
from scheduler.store.control import retry_run as retry
from scheduler.store.reading import get_run, list_outputs
from scheduler.store.why import ask_gates
from schemas.json_values import JsonObject
from schemas.spec_model import Text
from schemas.vocabulary import RunState

runs = APIRouter(tags=["runs"], route_class=ApiRoute)


class Cancel(Want):
    reason: Annotated[Text | None, Field(max_length=1000)] = None
    """Kept with the run."""


class Retry(Want):
    params: JsonObject | None = None
    """Go before the run's own."""


class Cancelled(Shape):
    run: UUID
    state: RunState
    """running: its executor was asked to stop it."""
    cancel_asked: bool = True


class Attempts(Shape):
    attempts: list[Attempt]


class Outputs(Shape):
    run: UUID
    attempts: list[Output]


@runs.get("/runs", openapi_extra=needs(Action.VIEW))
async def list_all_runs(call: Calling, query: RunQuery, response: Response, job: str | None = None) -> Runs:
    """List runs, newest first."""
    return await runs_page(call, query, response, job=job)


@runs.get("/runs/{run_id}", openapi_extra=needs(Action.VIEW))
async def read_run(call: Calling, run_id: UUID) -> RunDetail:
    """Return a run with its attempts and the needs that held it."""
    return RunDetail.model_validate(await get_run(call.store, call.tenant, run_id, lease_s=call.site.lease_s))


@runs.get("/runs/{run_id}/attempts", openapi_extra=needs(Action.VIEW))
async def list_run_attempts(call: Calling, run_id: UUID) -> Attempts:
    """Return the attempts of a run that have ended."""
    found = await get_run(call.store, call.tenant, run_id, lease_s=call.site.lease_s)
    return Attempts(attempts=[Attempt.model_validate(row) for row in found["attempts"]])


@runs.get("/runs/{run_id}/logs", response_model=Outputs, responses=streams_too(ABOUT), openapi_extra=needs(Action.VIEW))
async def read_run_logs(
    call: Calling,
    run_id: UUID,
    *,
    attempt: Annotated[int | None, Query(ge=1, le=1_000_000, description="Only it; a stream: from it on.")] = None,
    last_event_id: LastEventId = None,
) -> Outputs | Response:
    """Return what each ended attempt of a run wrote; as a stream also what it writes and how far it is, until its end.

    A stream that is cut off begins anew with the attempt that it was at.
    """
    if wants_stream(call.request.headers):
        return await stream_run(call, run_id, attempt, last_event_id)
    rows = await list_outputs(call.store, call.tenant, run_id, attempt=attempt)
    return Outputs(run=run_id, attempts=[Output.model_validate(row) for row in rows])


@runs.get("/runs/{run_id}/why", openapi_extra=needs(Action.VIEW))
async def ask_why(call: Calling, run_id: UUID) -> Why:
    """Say which gates hold a run back, in their order."""
    found = await ask_gates(call.store, call.tenant, run_id, lease_s=call.site.lease_s)
    first = held_by(found.gates)
    gates = [Gate(gate=gate.gate, holds=gate.holds, reason=gate.reason, runs=list(gate.runs)) for gate in found.gates]
    return Why(run=found.run, job=found.job, state=found.state, held_by=first and first.gate, gates=gates)


@runs.post("/runs/{run_id}/cancel", status_code=202, openapi_extra=needs(Action.OPERATE))
async def cancel_run(call: Calling, run_id: UUID, wanted: Annotated[Cancel, Body(default_factory=Cancel)]) -> Cancelled:
    """Cancel a run; one that runs is asked to stop, then killed."""
    reason = wanted.reason or f"cancelled by {call.caller.name}"
    return Cancelled(run=run_id, state=await cancel(call.store, call.tenant, run_id, reason=reason))


@runs.post("/runs/{run_id}/retry", status_code=202, openapi_extra=needs(Action.OPERATE))
async def retry_run(
    call: Calling, run_id: UUID, wanted: Annotated[Retry, Body(default_factory=Retry)], *, traceparent: Trace = None
) -> Fired:
    """Run an ended run again, with its params, as a new run."""
    asked = await retry(
        call.store, call.tenant, run_id, params=wanted.params, clock=call.clock, traceparent=traceparent
    )
    return Fired(firing=asked.firing_id, job=asked.job)
