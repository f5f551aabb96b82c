"""The application: operations, the guard in front of them, problems behind them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fastapi import APIRouter, FastAPI
from fastapi.routing import iter_route_contexts

from scheduler import __version__
from scheduler.api import problems
from scheduler.api.description import describe
from scheduler.api.guard import App, Guard
from scheduler.api.health import health, probes
from scheduler.api.hooks import HookDoor, hooks
from scheduler.api.route import ACTION, ApiRoute
from scheduler.api.site import Site
from scheduler.domain.access import Action
from scheduler.domain.addresses import is_loopback

PREFIX: Final = "/api/v1"


def make_front(site: Site) -> App:
    """Return what is served for ``site``: its application behind the guard, and beside it the door for webhooks."""
    http = site.settings.http
    names = http.allowed_hosts
    return Guard(HookDoor(make_app(site), site), names if names or is_loopback(http.host) else None)


def make_app(site: Site, more: Sequence[APIRouter] = ()) -> FastAPI:
    """Return the application that answers for ``site``; ``more`` routers stand beside those of ``/api/v1``.

    A route of ``more`` is an ApiRoute, or asks by itself who is calling. It is served behind a guard: see make_front.
    """
    app = FastAPI(
        title="scheduler",
        version=__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.site = site
    problems.install(app)
    for router in (hooks, probes, health):
        app.include_router(router)
    for router in operations():
        app.include_router(router, prefix=PREFIX)
    for router in more:
        app.include_router(router)
    describe(app)
    return app


def operations() -> Sequence[APIRouter]:
    """Return the routers of ``/api/v1``."""
    from scheduler.api.audit_routes import audit
    from scheduler.api.batch_routes import batches
    from scheduler.api.definition_routes import definitions
    from scheduler.api.event_routes import events
    from scheduler.api.feed_routes import feed
    from scheduler.api.job_actions import actions
    from scheduler.api.job_routes import jobs
    from scheduler.api.ledger_routes import ledger
    from scheduler.api.pool_routes import pools
    from scheduler.api.run_routes import runs

    return (jobs, actions, runs, batches, ledger, events, feed, definitions, pools, audit)


@dataclass(frozen=True, slots=True)
class Served:
    """One thing that the application answers; ``action`` is None for what asks nobody, or asks by itself."""

    name: str
    method: str
    path: str
    action: Action | None


def served(app: FastAPI) -> list[Served]:
    """Return everything that ``app`` answers."""
    found = []
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        action = Action((route.openapi_extra or {})[ACTION]) if isinstance(route, ApiRoute) else None
        methods = sorted(context.methods or ())
        found += [Served(context.name or "", method, context.path or "", action) for method in methods]
    return found
