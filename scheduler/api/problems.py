"""Every error as an RFC 9457 problem, the framework's own included."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from scheduler.api.methods import methods_of
from scheduler.errors import (
    CallerError,
    ConflictError,
    DefinitionsError,
    NotFoundError,
    NotPermittedError,
    SchedulerError,
    TransientError,
)
from scheduler.logs import Redactor

log: structlog.stdlib.BoundLogger = structlog.get_logger()

CONTENT_TYPE: Final = "application/problem+json"
_RETRY_AFTER_S: Final = 2
_STATUS: Final[Mapping[type[SchedulerError], int]] = {
    NotFoundError: 404,
    ConflictError: 409,
    DefinitionsError: 422,
    NotPermittedError: 403,
    CallerError: 400,
    TransientError: 503,
}
_CODES: Final = {
    400: "bad_request",
    401: "unauthenticated",
    404: "not_found",
    405: "method_not_allowed",
    408: "too_slow",
    412: "precondition_failed",
    413: "too_large",
    414: "address_too_long",
    415: "unsupported_media_type",
    421: "wrong_host",
    422: "invalid",
    428: "precondition_required",
    429: "too_many_requests",
    431: "headers_too_large",
    503: "unavailable",
}


class ProblemError(HTTPException):
    """A request that is answered with a problem; ``errors`` say where it is wrong, one by one."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        code: str | None = None,
        errors: Sequence[Mapping[str, Any]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, detail, headers)
        self.code = code or _CODES.get(status) or "error"
        self.errors = errors


class Problem(JSONResponse):
    media_type = CONTENT_TYPE


def answer_to(error: Exception, instance: str) -> Problem:
    """Return the problem that says ``error``; what is no error of the caller's says nothing of our inside."""
    headers: Mapping[str, str] | None = None
    errors: Sequence[Any] = ()
    if isinstance(error, ProblemError):
        status, code, detail, errors, headers = (
            error.status_code, error.code, error.detail, error.errors, error.headers
        )  # fmt: skip
    elif isinstance(error, RequestValidationError):
        status, code, detail = 422, "invalid", "the request does not fit; errors say where"
        errors = [_complaint(found) for found in error.errors()]
    elif isinstance(error, HTTPException):
        status, headers = error.status_code, error.headers
        code, detail = _CODES.get(status, "error"), str(error.detail)
    elif isinstance(error, SchedulerError):
        status = next((found for kind, found in _STATUS.items() if isinstance(error, kind)), 500)
        code, detail = error.code, str(error)
        if isinstance(error, TransientError):
            log.warning("http.unavailable", error=detail)
            detail = "the database or the broker is unavailable for now: try again"
        errors = error.details if isinstance(error, DefinitionsError) else ()
        headers = {"Retry-After": str(_RETRY_AFTER_S)} if isinstance(error, TransientError) else None
    else:
        log.error("http.failed", exc_info=error)
        status, code, detail = 500, "internal", "this is a fault of the scheduler; its log says more"
    body: dict[str, Any] = {
        "type": f"urn:scheduler:error:{code}",
        "title": _CODES.get(status, HTTPStatus(status).phrase).replace("_", " "),
        "status": status,
        "code": code,
        "detail": Redactor()(detail),
        "instance": instance,
    }
    return Problem(body | ({"errors": list(errors)} if errors else {}), status, headers)


def _complaint(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return one thing that does not fit: where, and what. What was given is never repeated."""
    where, *path = found["loc"] or ("body",)
    message = str(found["msg"]).removeprefix("Value error, ")
    if where == "body":
        return {"pointer": "".join(f"/{_escaped(part)}" for part in path), "detail": message}
    return {"parameter": str(path[0]) if path else "", "in": where, "detail": message}


def _escaped(part: object) -> str:
    return str(part).replace("~", "~0").replace("/", "~1")


def install(app: FastAPI) -> None:
    """Answer every error that reaches the framework with a problem."""

    async def handle(request: Request, error: Exception) -> Problem:
        problem = answer_to(error, request.url.path)
        if problem.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            problem.headers["Allow"] = ", ".join(methods_of(app, request.url.path))
        return problem

    for kind in (HTTPException, RequestValidationError, SchedulerError):
        app.add_exception_handler(kind, handle)
