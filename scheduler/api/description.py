"""The OpenAPI document, and a page of ours that shows it without anybody else's scripts."""

from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse, JSONResponse

from scheduler.api.docs_page import page
from scheduler.api.examples import add_examples
from scheduler.api.problems import CONTENT_TYPE
from scheduler.api.route import ACTION
from scheduler.api.site import Site
from scheduler.domain.access import Action, Target, authorize

_PROBLEM: Final[dict[str, Any]] = {
    "type": "object",
    "description": "RFC 9457: what is wrong. Programs go by `code`.",
    "required": ["type", "title", "status", "code", "detail", "instance"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "errors": {"type": "array", "items": {"type": "object"}},
    },
    "examples": [
        {
            "type": "urn:scheduler:error:not_found",
            "title": "not found",
            "status": 404,
            "code": "not_found",
            "detail": "there is no job dump-db",
            "instance": "/api/v1/jobs/dump-db",
        }
    ],
}
_REFUSALS: Final = ("400", "401", "403", "404", "409", "412", "413", "415", "422", "429", "503")
_REFUSALS_OF_WEBHOOKS: Final = ("400", "401", "408", "413", "415", "422", "429", "503")
_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "maxLength": 255},
    "description": "The same key with the same request is answered as it was first, for 24 hours.",
}


def describe(app: FastAPI) -> None:
    """Serve ``/openapi.json`` and ``/docs``: to everybody where the site shows them, else to viewers."""

    @app.get("/openapi.json", include_in_schema=False)
    async def read_openapi(request: Request) -> JSONResponse:
        await _may_read(request)
        return JSONResponse(document(app))

    @app.get("/docs", include_in_schema=False)
    async def read_docs(request: Request) -> HTMLResponse:
        await _may_read(request)
        html, policy = page(document(app))
        return HTMLResponse(html, headers={"Content-Security-Policy": policy})


def document(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of what ``app`` serves; made once."""
    if app.openapi_schema is None:
        found = get_openapi(
            title="scheduler",
            version="1",
            openapi_version="3.1.0",
            description=_ABOUT,
            routes=app.routes,
        )
        _complete(found)
        app.openapi_schema = found
    return app.openapi_schema


_ABOUT: Final = (
    "What the commands do, over HTTP. Times are RFC 3339 in UTC; errors are RFC 9457 problems; lists go on by "
    "`next`. Callers give an API key or a JWT as a bearer token; what each needs is in `x-action`."
)


def _complete(found: dict[str, Any]) -> None:
    """Say what the framework does not: problems, credentials, idempotency keys."""
    parts = found.setdefault("components", {})
    parts["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer", "description": "API key or JWT"}}
    schemas = parts.setdefault("schemas", {})
    schemas["Problem"] = _PROBLEM
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    problem = {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for path in found["paths"].values():
        for method, operation in path.items():
            operation["responses"].pop("422", None)
            add_examples(found, operation)
            if ACTION not in operation:
                for status in _REFUSALS_OF_WEBHOOKS if "webhooks" in operation.get("tags", ()) else ():
                    operation["responses"].setdefault(status, {"description": "Refused", "content": problem})
                continue
            operation["security"] = [{"bearer": []}]
            for status in _REFUSALS:
                operation["responses"].setdefault(status, {"description": "Refused", "content": problem})
            if method != "get" and not operation.pop("x-several", False):
                operation.setdefault("parameters", []).append(_KEY)
            operation.pop("x-raw", None)


async def _may_read(request: Request) -> None:
    site: Site = request.app.state.site
    if site.shows_docs:
        return
    caller = await site.authenticator.identify(
        request.headers.get("authorization"), site.address_of(request), site.opened()
    )
    authorize(caller, Action.VIEW, Target(request.url.path, caller.tenant))
