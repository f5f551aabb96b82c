"""What runs the jobs: executors, the queues of their pools; statistics; calendars."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Path, Query
from pydantic import Field

from scheduler.api.executor_rows import visible_executors
from scheduler.api.job_routes import JOB_NAME
from scheduler.api.route import ApiRoute, Calling, needs
from scheduler.api.shapes import Shape
from scheduler.api.wants import Moment, Want
from scheduler.domain.access import Action
from scheduler.store.calendars import calendar_row, closed_days, get_calendar, list_calendars
from scheduler.store.executors import drain_executor, undrain_executor
from scheduler.store.queues import clear_queue, list_queues, pause_queue, resume_queue
from scheduler.store.stats import count_pools, measure_runs
from schemas.spec_model import Text

MEASURED: Final = 1000
"""So many runs statistics are made of, of all jobs together."""
_DAY: Final = timedelta(days=1)

pools = APIRouter(tags=["pools"], route_class=ApiRoute)
Executor = Annotated[str, Path(min_length=1, max_length=200, description="The executor, as the list names it.")]
Pool = Annotated[str, Path(pattern=JOB_NAME, description="The pool.")]


class Executors(Shape):
    executors: list[dict[str, Any]]


class ExecutorAsked(Shape):
    executor: str
    drain: bool
    """It hears of it with its next heartbeat, which is asked for at once: /executors says `draining` then."""


class Queue(Shape):
    pool: str
    queue_limit: int
    paused_at: datetime | None
    ready: int
    queued: int
    running: int


class Queues(Shape):
    queues: list[Queue]


class QueueChanged(Shape):
    pool: str
    changed: bool


class Clear(Want):
    reason: Annotated[Text | None, Field(max_length=1000)] = None
    """Kept with the runs."""


class Cleared(Shape):
    pool: str
    cancelled: int


class Stats(Shape):
    since: datetime
    pools: list[dict[str, Any]]
    """What waits and runs in each pool now, and how its runs went, as with jobs."""
    jobs: list[dict[str, Any]]
    """How the runs of each job went: counts, success rate, seconds; `complete` false: of its newest runs only."""


class Calendars(Shape):
    calendars: list[dict[str, Any]]


@pools.get("/executors", openapi_extra=needs(Action.VIEW))
async def list_all_executors(call: Calling) -> Executors:
    """List executors that live, or stopped within a day; where they run is for the operator's tenant."""
    return Executors(executors=await visible_executors(call))


@pools.post("/executors/{name}/drain", status_code=202, openapi_extra=needs(Action.RUN_POOLS))
async def drain(call: Calling, name: Executor) -> ExecutorAsked:
    """Have an executor take nothing new; what it runs goes on. A new process starts undrained."""
    await drain_executor(call.store, name, lease_s=call.site.lease_s)
    return ExecutorAsked(executor=name, drain=True)


@pools.post("/executors/{name}/undrain", status_code=202, openapi_extra=needs(Action.RUN_POOLS))
async def undrain(call: Calling, name: Executor) -> ExecutorAsked:
    """Let a drained executor take runs again."""
    await undrain_executor(call.store, name, lease_s=call.site.lease_s)
    return ExecutorAsked(executor=name, drain=False)


@pools.get("/queues", openapi_extra=needs(Action.VIEW))
async def list_all_queues(call: Calling) -> Queues:
    """List the pools: how many runs of the tenant are ready, offered and running, and since when one is paused."""
    return Queues(queues=[Queue.model_validate(row) for row in await list_queues(call.store)])


@pools.post("/queues/{pool}/pause", openapi_extra=needs(Action.RUN_POOLS))
async def pause_pool(call: Calling, pool: Pool) -> QueueChanged:
    """Start nothing more in a pool, of any tenant; runs under way go on, offers of other tenants are still taken."""
    return QueueChanged(pool=pool, changed=await pause_queue(call.store, pool))


@pools.post("/queues/{pool}/resume", openapi_extra=needs(Action.RUN_POOLS))
async def resume_pool(call: Calling, pool: Pool) -> QueueChanged:
    """Start runs in a paused pool again."""
    return QueueChanged(pool=pool, changed=await resume_queue(call.store, pool))


@pools.post("/queues/{pool}/clear", openapi_extra=needs(Action.OPERATE))
async def clear_pool(call: Calling, pool: Pool, wanted: Annotated[Clear, Body(default_factory=Clear)]) -> Cleared:
    """Cancel every run of the tenant that waits in a pool for an executor; those that run go on."""
    reason = wanted.reason or f"its queue was cleared by {call.caller.name}"
    return Cleared(pool=pool, cancelled=await clear_queue(call.store, call.tenant, pool, reason=reason))


@pools.get("/stats", openapi_extra=needs(Action.VIEW))
async def read_stats(
    call: Calling,
    *,
    since: Annotated[Moment | None, Query(description="Runs made then or later; default: a day ago.")] = None,
    job: str | None = None,
) -> Stats:
    """Count what waits and runs in each pool, and say how runs of each pool and job went; of many, the newest."""
    begin = since or call.clock.now() - _DAY
    counted = await count_pools(call.store, call.tenant, lease_s=call.site.lease_s)
    measured = await measure_runs(call.store, call.tenant, since=begin, job=job, newest=MEASURED)
    return Stats(since=begin, pools=measured.beside(counted), jobs=list(measured.jobs))


@pools.get("/calendars", openapi_extra=needs(Action.VIEW))
async def list_all_calendars(call: Calling) -> Calendars:
    """List the calendars that were applied, and the countries that triggers name, which have calendars too."""
    found = await list_calendars(call.store, call.tenant)
    return Calendars(calendars=[calendar_row(stored) for stored in found.values()])


@pools.get("/calendars/{name}", openapi_extra=needs(Action.VIEW))
async def read_calendar(
    call: Calling,
    name: Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,63}$", description="Its name, or a country's code.")],
    year: Annotated[int | None, Query(ge=1970, le=9989, description="Default: this year (UTC).")] = None,
) -> dict[str, Any]:
    """Return a calendar with the closed days of a year; 404 for a year without data."""
    stored = await get_calendar(call.store, call.tenant, name)
    return calendar_row(stored) | closed_days(stored, year or call.clock.now().year)
