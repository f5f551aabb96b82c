"""Definitions files over HTTP: what they would change, changing it, and getting them back."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Response
from pydantic_core import to_json

from scheduler.api.problems import ProblemError
from scheduler.api.route import ApiRoute, Call, Calling, needs
from scheduler.api.shapes import Shape
from scheduler.change_plan import Stood, other_changes, planned_changes, warn_of_impossible
from scheduler.definitions.export import exported
from scheduler.definitions.load import load
from scheduler.definitions.model import Definitions
from scheduler.definitions.yaml_source import Document, parse
from scheduler.domain.access import Action, Target
from scheduler.errors import ForeignError
from scheduler.store.calendars import list_calendar_specs, load_calendars
from scheduler.store.definitions import apply
from scheduler.store.executors import find_impossible
from scheduler.store.rehearsal import rehearse
from scheduler.store.tenant_store import UnitStore
from scheduler.store.webhooks import exported_webhooks, list_webhooks

definitions = APIRouter(tags=["definitions"], route_class=ApiRoute)

Prune = Annotated[bool, Query(description="Delete what the same source applied before and does not name now.")]
_EXAMPLE: Final = {"version": 1, "jobs": {"dump": {"run": {"command": ["pg_dump", "orders"]}}}}
_FORMS: Final = ("application/json", "application/yaml")
_BODY: Final = {
    "requestBody": {
        "required": True,
        "description": "A definitions file, as it is.",
        "content": {form: {"schema": {"type": "object"}, "example": _EXAMPLE} for form in _FORMS},
    }
}


class Warned(Shape):
    """What is valid and probably not meant; the keys are those of errors."""

    file: str | None
    """None: it stands at no one place of the body."""
    line: int | None
    column: int | None
    path: str
    """What it is about, as `jobs.dump.triggers[0].cron`."""
    message: str
    allowed: list[str] | None


class Planned(Shape):
    jobs: list[dict[str, Any]]
    """Jobs that would be made, changed or removed, with the keys that differ and the firings that come and go."""
    unchanged: list[str]
    pools: list[str]
    calendars: list[dict[str, Any]]
    removed_calendars: list[str]
    webhooks: list[str]
    """Those that were made or changed."""
    removed_webhooks: list[str]
    warnings: list[Warned]
    """What is valid and probably not meant; jobs that no executor could run which lives now."""


class Applied(Shape):
    created: list[str]
    changed: list[str]
    removed: list[str]
    unchanged: list[str]
    pools: list[str]
    calendars: list[dict[str, Any]]
    removed_calendars: list[str]
    webhooks: list[str]
    """Those that were made or changed."""
    removed_webhooks: list[str]
    warnings: list[Warned]
    """What is valid and probably not meant; jobs that no executor could run which lives now."""


@definitions.get("/definitions", openapi_extra=needs(Action.VIEW), response_model=dict[str, Any])
async def export_definitions(call: Calling, source: str | None = None) -> Response:
    """Return the jobs of the tenant as a definitions file that applies to the same; secrets are references in it."""
    async with call.store.connection() as db:
        store = UnitStore(call.store, db)
        jobs = await call.site.exported_jobs.of(store, call.tenant, source)
        calendars = await list_calendar_specs(store, call.tenant)
        stored = await list_webhooks(store, call.tenant)
    named = frozenset().union(*(job.webhooks for job in jobs.values()))
    hooks = exported_webhooks(stored, source, named)
    document = exported(Definitions(call.tenant, source, {}, {}, (), calendars=calendars, webhooks=hooks))
    del document["jobs"]
    rows = b",".join(to_json(name) + b":" + job.text for name, job in jobs.items())
    return Response(to_json(document)[:-1] + b',"jobs":{' + rows + b"}}", media_type="application/json")


@definitions.post("/definitions/plan", openapi_extra=needs(Action.VIEW, alone=False, raw=True) | _BODY)
async def plan_definitions(
    call: Calling, *, prune: Prune = False, days: Annotated[int, Query(ge=1, le=366)] = 7
) -> Planned:
    """Say what apply would change; nothing is written, and what apply would refuse is refused."""
    wanted = await _read(call, prune=prune)
    calendars = await load_calendars(call.store, call.tenant)
    result, standing = await rehearse(call.store, wanted, prune=prune, clock=call.clock)
    stood = Stood(standing, calendars, call.clock.now())
    jobs = await asyncio.to_thread(planned_changes, wanted, result, stood, timedelta(days=days))
    said = {"jobs": jobs, "unchanged": result.unchanged, "warnings": await _warnings(call, wanted)}
    return Planned.model_validate(said | other_changes(result))


@definitions.post("/definitions/apply", openapi_extra=needs(Action.DEFINE, raw=True) | _BODY)
async def apply_definitions(call: Calling, *, prune: Prune = False) -> Applied:
    """Make the jobs of the tenant those of the file: all or nothing."""
    wanted = await _read(call, prune=prune)
    if wanted.pools:
        call.demand(Action.RUN_POOLS, Target("the pools that the file names", None))
    result = await apply(call.store, wanted, prune=prune, clock=call.clock)
    return Applied(
        created=result.created,
        changed=result.changed,
        removed=result.removed,
        unchanged=result.unchanged,
        warnings=await _warnings(call, wanted),
        **other_changes(result),
    )


async def _warnings(call: Call, wanted: Definitions) -> list[Warned]:
    impossible = await find_impossible(call.store, wanted.jobs, lease_s=call.site.lease_s)
    return [Warned.model_validate(said.detail()) for said in warn_of_impossible(wanted, impossible).warnings]


@dataclass(frozen=True, slots=True)
class _Reading:
    """One body, read away from the loop."""

    data: bytes
    file: str
    tenant: str
    settings: dict[str, Any]
    now: Callable[[], datetime]

    def __call__(self) -> Definitions:
        document: Document = parse(self.data, self.file)
        if isinstance(document.value, dict) and document.value.setdefault("tenant", self.tenant) != self.tenant:
            raise ForeignError("there is no such tenant")
        return load([], settings=self.settings, now=self.now(), documents=[document])


async def _read(call: Call, *, prune: bool) -> Definitions:
    """Return what the body says; a file that names no tenant is the caller's."""
    kind = call.request.headers.get("content-type", "")
    file = "body.json" if "json" in kind else "body.yaml"
    settings = call.site.settings.job_defaults()
    data = await call.request.body()
    wanted = await asyncio.to_thread(_Reading(data, file, call.tenant, settings, call.clock.now))
    if prune and wanted.source is None:
        raise ProblemError(422, "to prune, the file must name its source", code="source_missing")
    return wanted
