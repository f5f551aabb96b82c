"""``POST /hooks/{tenant}/{name}``: what others send. Verified over the raw bytes, then read, then taken in; no more.

What is refused before the sender is known does not depend on the endpoint; after that, an unknown endpoint and a
signature that does not hold are the same to who asks.
"""

import re
from collections.abc import Callable, Coroutine
from typing import Any, Final

import structlog
from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from pydantic_core import to_json
from starlette.requests import ClientDisconnect

from scheduler.api.authentication import too_many
from scheduler.api.problems import ProblemError, answer_to
from scheduler.api.route import read_bytes
from scheduler.api.shapes import EventTaken
from scheduler.api.site import Site
from scheduler.domain.matching import WEBHOOK_TOPIC
from scheduler.domain.signature import Proved, RefusedError, verify
from scheduler.domain.strict_json import read_object
from scheduler.domain.webhook import answer_of, delivery_of, event_id_of, headers_of
from scheduler.errors import DatabaseUnavailableError
from scheduler.ids import uuid7
from scheduler.store.events import NewEvent
from schemas.vocabulary import EventSource, VerifyScheme

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_JSON: Final = re.compile(r"application/(json|[a-z0-9!#$&^_.-]{1,64}\+json)")
_CHARSETS: Final = frozenset({"", "charset=utf-8", 'charset="utf-8"'})


class HookRoute(APIRoute):
    """A route that takes its request as it is: what the framework would do with it first costs more than all else."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        async def handle(request: Request) -> Response:
            try:
                return await _receive(request)
            except ClientDisconnect:
                return Response(status_code=400)  # nobody reads it
            except Exception as error:  # noqa: BLE001 - whatever it is, the sender gets a problem
                return answer_to(error, request.url.path)

        return handle


hooks = APIRouter(tags=["webhooks"], route_class=HookRoute)


@hooks.post(
    "/hooks/{tenant}/{name}",
    status_code=202,
    responses={200: {"model": EventTaken, "description": "It came before"}},
    openapi_extra={
        "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}},
    },
)
async def receive_webhook(tenant: str, name: str) -> EventTaken:
    """Take an event of a sender that proves itself as the endpoint demands: 202 means stored, not decided.

    401 whatever is wrong with the proof; 413, 415 and 422 with the body; 503 with Retry-After: send it again.
    """
    raise AssertionError(f"HookRoute answers in place of this: {tenant}/{name}")


async def _receive(request: Request) -> Response:
    site: Site = request.app.state.site
    if site.hooks is None:
        raise DatabaseUnavailableError("the database is not open yet")
    _check_type(request.headers.get("content-type", ""))
    body = await read_bytes(request)
    tenant, name = request.path_params["tenant"], request.path_params["name"]
    endpoint = site.hooks.find(tenant, name)
    scheme = None if endpoint is None else endpoint.scheme
    raw: list[tuple[bytes, bytes]] = request.scope["headers"]
    now = site.clock.now()
    try:
        proved = verify(scheme, () if endpoint is None else endpoint.keys, raw, body, int(now.timestamp()))
    except RefusedError as error:
        raise _refusal(site, request, str(error)) from None
    assert scheme is not None  # noqa: S101 - else it was refused
    try:
        data = read_object(body)
    except ValueError as error:
        raise ProblemError(422, f"the body: {error}", code="invalid_json") from None
    headers = headers_of(raw)
    answer = answer_of(scheme, headers, data)
    if answer is not None:
        return _said(200, answer)
    event = _event_of(site, (tenant, name), (scheme, proved), data, headers)
    taken = await site.hooks.take(event, len(body))
    return _said(200 if taken.duplicate else 202, {"event_id": taken.event_id, "duplicate": taken.duplicate})


def _event_of(
    site: Site, hook: tuple[str, str], proof: tuple[VerifyScheme, Proved], data: dict[str, Any], headers: dict[str, str]
) -> NewEvent:
    (tenant, name), (scheme, proved) = hook, proof
    delivery = delivery_of(scheme, proved, data)
    named = delivery is not None and delivery != proved.digest
    return NewEvent(
        id=uuid7(site.clock) if delivery is None else event_id_of(tenant, name, delivery),
        tenant=tenant,
        source=EventSource.WEBHOOK,
        topic=f"{WEBHOOK_TOPIC}{name}",
        data=data,
        key=None if delivery is None else f"{name}:{delivery}",
        sender_id=delivery if named else None,
        headers=headers or None,
        occurred_at=site.clock.now(),
    )


def _check_type(given: str) -> None:
    kind, _, parameter = given.lower().partition(";")
    if not _JSON.fullmatch(kind.strip()) or parameter.strip() not in _CHARSETS:
        raise ProblemError(415, "send application/json in UTF-8")


def _refusal(site: Site, request: Request, reason: str) -> ProblemError:
    """Return what a sender is told that proves nothing; the reason is for our log alone."""
    address = site.address_of(request)
    wait_s = site.refusals.take(address, site.clock.monotonic())
    if wait_s > 0:
        return too_many("too many refused requests", wait_s)
    named = {part: str(value)[:64] for part, value in request.path_params.items()}
    log.warning("webhook.refused", tenant=named["tenant"], webhook=named["name"], address=address, reason=reason)
    return ProblemError(401, "the request is not proved to be from a sender of this endpoint")


def _said(status: int, body: dict[str, Any]) -> Response:
    return Response(to_json(body), status, media_type="application/json")
