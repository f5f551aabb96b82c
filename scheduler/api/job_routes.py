"""Jobs: read, defined, deleted; their runs, firings and next times."""

from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, Body, Path, Query, Response

from scheduler.api.job_changes import change_job, patched
from scheduler.api.lists import Cursor, Limit, next_page, page_start
from scheduler.api.problems import ProblemError
from scheduler.api.revisions import IfMatch, IfNoneMatch, hold, tag
from scheduler.api.route import ApiRoute, Calling, needs
from scheduler.api.shapes import Changed, Job, JobDetail, Jobs, Shape
from scheduler.api.wants import Moment
from scheduler.domain.access import Action
from scheduler.domain.merged import merge
from scheduler.store.definitions import delete_job as delete
from scheduler.store.job_times import read_job_times
from scheduler.store.reading import get_job, list_jobs
from schemas.json_values import JsonObject

JOB_NAME: Final = r"^[a-z0-9][a-z0-9_-]{0,62}$"
Name = Annotated[str, Path(pattern=JOB_NAME, description="The job.")]
EXAMPLE: Final = {"run": {"command": ["pg_dump", "orders"]}, "triggers": [{"cron": "0 2 * * *"}]}
Definition = Annotated[JsonObject, Body(description="Keys of a job, as in a definitions file.", examples=[EXAMPLE])]

jobs = APIRouter(tags=["jobs"], route_class=ApiRoute)


class Fires(Shape):
    job: str
    fires: list[datetime]
    complete: bool
    """There are no more than these."""
    troubles: list[str]
    """Why triggers of it cannot be read."""


@jobs.get("/jobs", openapi_extra=needs(Action.VIEW))
async def list_all_jobs(call: Calling, response: Response, *, limit: Limit = 50, cursor: Cursor = None) -> Jobs:
    """List the jobs by name: when each fires next, and how its last run ended."""
    after = await page_start(call, {}, cursor)
    rows = await list_jobs(call.store, call.tenant, after=after, limit=limit)
    following = await next_page(call, {}, rows, limit, response)
    return Jobs(jobs=[Job.model_validate(row) for row in rows], next=following)


@jobs.get("/jobs/{name}", openapi_extra=needs(Action.VIEW))
async def read_job(call: Calling, name: Name, response: Response) -> JobDetail:
    """Return a job with its whole definition and its triggers; ETag is that of its definition and switches."""
    row = await get_job(call.store, call.tenant, name)
    tag(response, row)
    return JobDetail.model_validate(row)


@jobs.put("/jobs/{name}", openapi_extra=needs(Action.DEFINE), responses={201: {"model": JobDetail}})
async def put_job(
    call: Calling,
    name: Name,
    definition: Definition,
    response: Response,
    *,
    if_match: IfMatch = None,
    if_none_match: IfNoneMatch = None,
) -> JobDetail:
    """Define a job, new (201) or anew; what people switched by hand stays, unless the definition says otherwise."""
    before = await hold(call, name, if_match, if_none_match)
    row = await change_job(call, name, definition)
    response.status_code = 201 if before is None else 200
    response.headers["Location"] = call.request.url.path
    tag(response, row)
    return JobDetail.model_validate(row)


@jobs.patch("/jobs/{name}", openapi_extra=needs(Action.DEFINE))
async def patch_job(
    call: Calling, name: Name, changes: Definition, response: Response, *, if_match: IfMatch = None
) -> JobDetail:
    """Change keys of a job as a JSON merge patch does (RFC 7396): null takes a key away."""
    await hold(call, name, if_match)
    stands = await get_job(call.store, call.tenant, name)
    row = await change_job(call, name, patched(stands["spec"], changes))
    tag(response, row)
    return JobDetail.model_validate(row)


@jobs.delete("/jobs/{name}", openapi_extra=needs(Action.DEFINE))
async def delete_job(call: Calling, name: Name, *, if_match: IfMatch = None) -> Changed:
    """Delete a job; its ledger and its runs stay, runs under way go on. 409 when another job needs it."""
    await hold(call, name, if_match)
    await get_job(call.store, call.tenant, name)
    await delete(call.store, call.tenant, name, clock=call.clock)
    return Changed(name=name, done="deleted", changed=True)


@jobs.get("/jobs/{name}/next", openapi_extra=needs(Action.VIEW))
async def list_next_fires(
    call: Calling,
    name: Name,
    *,
    since: Annotated[Moment | None, Query(alias="from", description="Default: now.")] = None,
    count: Annotated[int, Query(ge=1, le=200)] = 10,
) -> Fires:
    """Foretell when a job fires, by its definition; what is held back by a pause is foretold too."""
    times = await read_job_times(call.store, call.tenant, name)
    now = call.clock.now()
    try:
        found = merge(times.sources, since or now, now, count)
    except (ValueError, OverflowError):
        raise ProblemError(422, "no schedule reaches so far", errors=[{"parameter": "from"}]) from None
    fires = [at.fires_at for at in found.fires]
    return Fires(job=name, fires=fires, complete=found.is_all, troubles=list(times.troubles))
