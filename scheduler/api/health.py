"""Whether this process and what it needs are well: for probes, for people, for Prometheus."""

from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel

from scheduler.api.executor_rows import visible_executors
from scheduler.api.route import ApiRoute, Calling, needs
from scheduler.api.site import Site
from scheduler.domain.access import Action
from scheduler.metrics import CONTENT_TYPE
from scheduler.store.health import ask_health
from scheduler.store.reading import list_next

_NEXT: int = 20

probes = APIRouter(tags=["health"])
"""Ask nobody who they are; tell no secrets and no names."""
health = APIRouter(tags=["health"], route_class=ApiRoute)


class Alive(BaseModel):
    alive: bool


class Unready(BaseModel):
    part: str
    trouble: str


class Healthy(BaseModel):
    healthy: bool


class NextFiring(BaseModel):
    job: str
    trigger: str
    fires_at: datetime


class Details(BaseModel):
    """How the caller's tenant is served."""

    healthy: bool
    troubles: dict[str, str]
    """By part, what is wrong now."""
    warnings: list[str]
    counts: dict[str, Any]
    round_trips_s: dict[str, float]
    """Seconds that a message took through the broker, and a question to the database."""
    executors: list[dict[str, Any]]
    next_firings: list[NextFiring]


@probes.get("/livez")
@probes.get("/healthz", name="healthz")
async def livez() -> Alive:
    """Say that the process lives; nothing is looked at."""
    return Alive(alive=True)


@probes.get("/readyz", responses={503: {"model": list[Unready]}})
async def readyz(request: Request) -> list[Unready]:
    """Say whether the process can do its work now: 503 with what keeps it from that."""
    site: Site = request.app.state.site
    troubles = await site.troubles()
    parts = [Unready(part=part, trouble=trouble) for part, trouble in sorted(troubles.items())]
    times = ", ".join(f"{part};dur={seconds * 1000:.2f}" for part, seconds in site.round_trips().items())
    body = [part.model_dump() for part in parts]
    return JSONResponse(body, 503 if parts else 200, {"Server-Timing": times} if times else None)  # type: ignore[return-value]


@probes.get("/health")
async def read_health(request: Request) -> Healthy:
    """Say whether the process and all it needs are well: 503 when not. Who may see why asks /health/detailed."""
    site: Site = request.app.state.site
    well = not await site.troubles()
    return JSONResponse({"healthy": well}, 200 if well else 503)  # type: ignore[return-value]


@health.get("/health/detailed", openapi_extra=needs(Action.VIEW))
async def read_health_details(call: Calling) -> Details:
    """Say what is wrong and how much waits: database, broker, lag, executors, next firings."""
    site, tenant = call.site, call.tenant
    today, history = call.clock.now().date(), call.caller.runs_installation
    found = await ask_health(call.store, tenant, lease_s=site.lease_s, today=today, history=history)
    troubles = {**found.troubles, **await site.troubles()}
    executors = await visible_executors(call)
    upcoming = await list_next(call.store, tenant, limit=_NEXT)
    begun = call.clock.monotonic()
    await site.opened().of(tenant).probe()
    database_s = call.clock.monotonic() - begun
    return Details(
        healthy=not troubles,
        troubles=troubles,
        warnings=found.warnings,
        counts=found.counts,
        round_trips_s={"database": database_s, **site.round_trips()},
        executors=[row for row in executors if row["alive"]],
        next_firings=[NextFiring.model_validate(row) for row in upcoming],
    )


@health.get("/metrics", openapi_extra=needs(Action.VIEW), response_class=Response)
async def read_metrics(call: Calling) -> Response:
    """Return the metrics of this process as Prometheus reads them; to the operator's tenant also what the rows say.

    These are of all tenants: names of jobs, and how much others have to do.
    """
    site = call.site
    ready = not await site.troubles()
    rows = call.caller.runs_installation
    if rows:
        await site.metrics.refresh()
    text = site.metrics.render(ready=ready, round_trips=site.round_trips(), rows=rows)
    return Response(text, media_type=CONTENT_TYPE)
