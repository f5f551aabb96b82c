"""What is done with a job: paused, resumed, switched, run, backfilled; what came of it."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Body, Response
from pydantic import Field

from scheduler.api.firing_lists import FiringQuery, list_page
from scheduler.api.job_routes import Name
from scheduler.api.lists import Cursor, Limit, next_page, page_start
from scheduler.api.revisions import IfMatch, hold
from scheduler.api.route import ApiRoute, Call, Calling, needs
from scheduler.api.run_lists import RunQuery, runs_page
from scheduler.api.shapes import Changed, Fired, Firings, Runs, Shape
from scheduler.api.wants import Moment, Trace, Want
from scheduler.domain.access import Action
from scheduler.store import control
from scheduler.store.backfill import Wanted, cancel_backfill, get_backfill, list_backfills, start_backfill
from scheduler.store.reading import get_job
from schemas.json_values import JsonObject
from schemas.spec_model import Text
from schemas.vocabulary import Priority

actions = APIRouter(tags=["jobs"], route_class=ApiRoute)


class Pause(Want):
    note: Annotated[Text | None, Field(max_length=1000)] = None
    """Why; shown to others."""


class Resume(Want):
    at: Moment | None = None
    """Where the pause ends for its triggers, now by default. Later: they fire from then on. Earlier: what was
    planned since then is caught up as after an outage."""


class RunNow(Want):
    params: JsonObject | None = None
    """Go before those of the definition."""


class BackfillWanted(Want):
    since: Annotated[Moment, Field(alias="from")]
    until: Annotated[Moment, Field(alias="to")]
    again: bool = False
    """Also the instants that did start."""
    max_parallel: Annotated[int, Field(ge=1, le=1000)] = 1
    priority: Priority = Priority.BACKGROUND
    dry_run: bool = False
    """Only say what would run."""


class BackfillStarted(Shape):
    backfill: UUID | None
    """None: nothing is to run, or only asked."""
    job: str
    count: int
    left_to_the_clock_after: datetime | None


class Backfills(Shape):
    backfills: list[dict[str, Any]]
    next: str | None


@actions.post("/jobs/{name}/pause", openapi_extra=needs(Action.OPERATE))
async def pause_job(
    call: Calling, name: Name, wanted: Annotated[Pause, Body(default_factory=Pause)], *, if_match: IfMatch = None
) -> Changed:
    """Plan nothing of a job until it is resumed; runs under way go on."""
    await hold(call, name, if_match)
    changed = await control.pause_job(call.store, call.tenant, name, note=wanted.note, clock=call.clock)
    return Changed(name=name, done="paused", changed=changed)


@actions.post("/jobs/{name}/resume", openapi_extra=needs(Action.OPERATE))
async def resume_job(
    call: Calling, name: Name, wanted: Annotated[Resume, Body(default_factory=Resume)], *, if_match: IfMatch = None
) -> Changed:
    """Plan a job again, from now or from a time; what fell into the pause is in the ledger."""
    await hold(call, name, if_match)
    changed = await control.resume_job(call.store, call.tenant, name, clock=call.clock, at=wanted.at)
    return Changed(name=name, done="resumed", changed=changed)


@actions.post("/jobs/{name}/enable", openapi_extra=needs(Action.OPERATE))
async def enable_job(call: Calling, name: Name, *, if_match: IfMatch = None) -> Changed:
    """Let a disabled job start again."""
    return await _switch(call, name, if_match, enabled=True)


@actions.post("/jobs/{name}/disable", openapi_extra=needs(Action.OPERATE))
async def disable_job(call: Calling, name: Name, *, if_match: IfMatch = None) -> Changed:
    """Keep a job from starting in any way; runs under way go on."""
    return await _switch(call, name, if_match, enabled=False)


@actions.post("/jobs/{name}/run", status_code=202, openapi_extra=needs(Action.OPERATE))
async def run_job(
    call: Calling,
    name: Name,
    wanted: Annotated[RunNow, Body(default_factory=RunNow)],
    *,
    traceparent: Trace = None,
) -> Fired:
    """Fire a job now. The firing gets a verdict like any other; runs of it: /runs?job=NAME, /jobs/NAME/firings."""
    asked = await control.trigger_jobs(
        call.store, call.tenant, [name], params=wanted.params, clock=call.clock, traceparent=traceparent
    )
    return Fired(firing=asked[0].firing_id, job=name)


@actions.post("/jobs/{name}/backfill", status_code=202, openapi_extra=needs(Action.OPERATE))
async def backfill_job(call: Calling, name: Name, wanted: BackfillWanted, response: Response) -> BackfillStarted:
    """Run the instants of a range that did not start; both ends are included."""
    asked = Wanted(name, wanted.since, wanted.until, wanted.again, wanted.max_parallel, wanted.priority)
    found = await start_backfill(call.store, call.tenant, asked, dry_run=wanted.dry_run, clock=call.clock)
    if found.id is not None:
        response.headers["Location"] = f"/api/v1/backfills/{found.id}"
    return BackfillStarted(
        backfill=found.id, job=name, count=len(found.instants), left_to_the_clock_after=found.settled_until
    )


@actions.get("/backfills", openapi_extra=needs(Action.VIEW))
async def list_all_backfills(
    call: Calling, response: Response, *, job: str | None = None, limit: Limit = 50, cursor: Cursor = None
) -> Backfills:
    """List backfills with their progress, newest first."""
    filters = {"job": job}
    after = await page_start(call, filters, cursor)
    rows = await list_backfills(call.store, call.tenant, job, after=after, limit=limit)
    return Backfills(backfills=rows, next=await next_page(call, filters, rows, limit, response))


@actions.get("/backfills/{backfill_id}", openapi_extra=needs(Action.VIEW))
async def read_backfill(call: Calling, backfill_id: UUID) -> dict[str, Any]:
    """Return one backfill with its progress."""
    return await get_backfill(call.store, call.tenant, backfill_id)


@actions.post("/backfills/{backfill_id}/cancel", openapi_extra=needs(Action.OPERATE))
async def stop_backfill(call: Calling, backfill_id: UUID) -> dict[str, Any]:
    """Start nothing more of a backfill; its runs under way go on."""
    await cancel_backfill(call.store, call.tenant, backfill_id, reason=f"cancelled by {call.caller.name}")
    return await get_backfill(call.store, call.tenant, backfill_id)


@actions.get("/jobs/{name}/runs", openapi_extra=needs(Action.VIEW))
async def list_job_runs(call: Calling, name: Name, query: RunQuery, response: Response) -> Runs:
    """List the runs of a job, newest first."""
    await get_job(call.store, call.tenant, name)
    return await runs_page(call, query, response, job=name)


@actions.get("/jobs/{name}/firings", openapi_extra=needs(Action.VIEW))
async def list_job_firings(call: Calling, name: Name, query: FiringQuery, response: Response) -> Firings:
    """List what was planned of a job and what became of it, what was due latest first; also of a deleted job."""
    return await list_page(call, query, response, job=name)


async def _switch(call: Call, name: str, if_match: str | None, *, enabled: bool) -> Changed:
    await hold(call, name, if_match)
    changed = await control.enable_job(call.store, call.tenant, name, enabled=enabled, clock=call.clock)
    return Changed(name=name, done="enabled" if enabled else "disabled", changed=changed)
