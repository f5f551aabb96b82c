"""``POST /hooks/{tenant}/{name}``: what others send. Verified over the raw bytes, then read, then taken in; no more.

What is refused before the sender is known does not depend on the endpoint; after that, an unknown endpoint and a
signature that does not hold are the same to who asks.
"""

import re
from typing import Any, Final

import structlog
from fastapi import APIRouter, Request
from pydantic_core import to_json
from starlette.requests import ClientDisconnect

from scheduler.api.authentication import too_many
from scheduler.api.guard import App, Receive, Scope, Send
from scheduler.api.problems import ProblemError, answer_to
from scheduler.api.route import read_body
from scheduler.api.shapes import EventTaken
from scheduler.api.site import Site
from scheduler.domain.addresses import network_of
from scheduler.domain.matching import WEBHOOK_TOPIC
from scheduler.domain.signature import Proved, RefusedError, verify
from scheduler.domain.strict_json import read_object
from scheduler.domain.webhook import answer_of, delivery_of, event_id_of, headers_of
from scheduler.errors import DatabaseUnavailableError
from scheduler.ids import uuid7
from scheduler.store.events import NewEvent
from schemas.vocabulary import EventSource, VerifyScheme

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_PATH: Final = re.compile("/hooks/([^/]+)/([^/]+)")
_JSON: Final = re.compile(r"application/(json|[a-z0-9!#$&^_.-]{1,64}\+json)")
_CHARSETS: Final = frozenset({"", "charset=utf-8", 'charset="utf-8"'})


_Hook = tuple[str, str]
"""The tenant and the name of an endpoint, as they are asked for."""

hooks = APIRouter(tags=["webhooks"])


class HookDoor:
    """Answers webhooks in front of an application: what a framework does around a request costs more than all else."""

    def __init__(self, app: App, site: Site) -> None:
        self._app = app
        self._site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = _PATH.fullmatch(scope["path"]) if scope["method"] == "POST" else None
        if asked is None:
            await self._app(scope, receive, send)
            return
        try:
            status, said = await _receive(self._site, (asked[1], asked[2]), scope, receive)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, the sender gets a problem
            await answer_to(error, scope["path"])(scope, receive, send)
            return
        body = to_json(said)
        head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": body})


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
    raise AssertionError(f"HookDoor answers in place of this: {tenant}/{name}")


async def _receive(site: Site, hook: _Hook, scope: Scope, receive: Receive) -> tuple[int, dict[str, Any]]:
    """Return the status and what is said."""
    if site.hooks is None:
        raise DatabaseUnavailableError("the database is not open yet")
    raw: list[tuple[bytes, bytes]] = scope["headers"]
    given = dict(raw)  # the guard has seen that those asked for here are given once
    _check_type(given.get(b"content-type", b"").decode("latin-1"))
    body = await read_body(receive, given.get(b"content-length", b"0").decode("latin-1"))
    endpoint = site.hooks.find(*hook)
    scheme = None if endpoint is None else endpoint.scheme
    now = site.clock.now()
    try:
        proved = verify(scheme, () if endpoint is None else endpoint.keys, raw, body, int(now.timestamp()))
    except RefusedError as error:
        raise _refusal(site, Request(scope), hook, str(error)) from None
    assert scheme is not None  # noqa: S101 - else it was refused
    try:
        data = read_object(body)
    except ValueError as error:
        raise ProblemError(422, f"the body: {error}", code="invalid_json") from None
    headers = headers_of(raw)
    answer = answer_of(scheme, headers, data)
    if answer is not None:
        return 200, answer
    taken = await site.hooks.take(_event_of(site, hook, (scheme, proved), data, headers), len(body))
    return 200 if taken.duplicate else 202, {"event_id": taken.event_id, "duplicate": taken.duplicate}


def _event_of(
    site: Site, hook: _Hook, proof: tuple[VerifyScheme, Proved], data: dict[str, Any], headers: dict[str, str]
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


def _refusal(site: Site, request: Request, hook: _Hook, reason: str) -> ProblemError:
    """Return what a sender is told that proves nothing; the reason is for our log alone."""
    address = site.address_of(request)
    wait_s = site.refusals.take(network_of(address), site.clock.monotonic())
    if wait_s > 0:
        return too_many("too many refused requests", wait_s)
    tenant, name = (part[:64] for part in hook)
    log.warning("webhook.refused", tenant=tenant, webhook=name, address=address, reason=reason)
    return ProblemError(401, "the request is not proved to be from a sender of this endpoint")
