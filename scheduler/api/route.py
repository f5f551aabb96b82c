"""What happens around every operation: who asks, may they, how often; the body; all changes as one.

An operation that changes something runs in one transaction, which is committed before it is answered:
what it checks (If-Match) and what it keeps (Idempotency-Key) is part of it.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Depends, Request, Response
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Query
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from scheduler.api.authentication import too_many
from scheduler.api.denials import by_of, note_denial, request_id_of
from scheduler.api.guard import Receive
from scheduler.api.problems import ProblemError, answer_to
from scheduler.api.site import Site
from scheduler.clock import Clock
from scheduler.domain.access import Action, Caller, Target, authorize
from scheduler.domain.strict_json import read_json
from scheduler.ids import uuid7
from scheduler.store.idempotency import Answer, find_answer, keep_answer
from scheduler.store.stores import Store

LONGEST_BODY: Final = 1024 * 1024
_READ_DEADLINE_S: Final = 30.0
_SAFE: Final = frozenset({"GET", "HEAD"})
_LONGEST_KEY: Final = 255
_MOST_ERRORS: Final = 20
_YAML: Final = frozenset({"application/yaml", "application/x-yaml", "text/yaml"})
_KEPT_HEADERS: Final = ("content-type", "location", "etag")
ACTION: Final = "x-action"
"""Under this name a route says in the OpenAPI document what its caller must be allowed."""


@dataclass(slots=True)
class Call:
    """One request, as operations see it."""

    site: Site
    caller: Caller
    store: Store
    """Of the tenant of the caller; for an operation that changes something, its one transaction."""
    request: Request
    afterwards: Callable[[], Awaitable[Response]] | None = None
    """Makes the answer once the changes are committed."""

    @property
    def tenant(self) -> str:
        return self.caller.tenant

    @property
    def clock(self) -> Clock:
        return self.site.clock

    def demand(self, action: Action, target: Target) -> None:
        """Refuse what the caller may not; see authorize."""
        authorize(self.caller, action, target)


def _call_of(request: Request) -> Call:
    call: Call = request.state.call
    return call


Calling = Annotated[Call, Depends(_call_of)]


def needs(action: Action, *, alone: bool = True, raw: bool = False) -> dict[str, Any]:
    """Return what a route says beside its signature: what its caller must be allowed.

    ``alone=False``: its changes are several transactions of their own. ``raw``: it reads its body itself, YAML too.
    """
    return {ACTION: action.value} | ({} if alone else {"x-several": True}) | ({"x-raw": True} if raw else {})


_GONE: Final = 499
"""What servers note of a request whose sender went before all of it had come."""


class _Strict(Request):
    """A request whose JSON is read strictly, once."""

    async def json(self) -> Any:
        return self.state.json


class ApiRoute(APIRoute):
    """A route of ``/api/v1``. One that does not say what it needs cannot be made."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        original = super().get_route_handler()
        extra: Mapping[str, Any] = self.openapi_extra or {}
        action = Action(extra[ACTION])
        rules = _Rules(
            action,
            several="x-several" in extra,
            raw="x-raw" in extra,
            has_body=self.body_field is not None,
            parameters=frozenset(
                field.alias for field in get_flat_params(self.dependant) if isinstance(field.field_info, Query)
            ),
        )

        async def handle(request: Request) -> Response:
            site: Site = request.app.state.site
            request.state.id = request_id_of(request.headers.get("x-request-id"), uuid7(site.clock))
            try:
                response = await _answer(_Strict(request.scope, request.receive), rules, original)
            except ClientDisconnect:  # nobody is there to hear of it
                response = Response(status_code=_GONE)
            except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets a problem
                await note_denial(site, request, action, error)
                response = answer_to(error, request.url.path)
            response.headers["X-Request-Id"] = request.state.id
            response.headers.update(getattr(request.state, "rate_limit", {}))
            return response

        return handle


@dataclass(frozen=True, slots=True)
class _Rules:
    action: Action
    several: bool
    raw: bool
    has_body: bool
    parameters: frozenset[str]
    """What may be asked behind the question mark."""


async def _answer(request: _Strict, rules: _Rules, original: Callable[[Request], Awaitable[Response]]) -> Response:
    site: Site = request.app.state.site
    address = site.address_of(request)
    caller = await site.authenticator.identify(request.headers.get("authorization"), address, site.opened())
    request.state.caller = caller
    now = site.clock.monotonic()
    wait_s = site.rates.take(caller.account, now)
    request.state.rate_limit = site.rates.said(caller.account, now)
    if wait_s > 0:
        raise too_many("too many requests", wait_s)
    authorize(caller, rules.action, _target(rules.action, caller, request))
    _check_parameters(request, rules.parameters)
    await _read_body(request, rules)
    store = site.store_of(by_of(caller, address, request.state.id))
    call = request.state.call = Call(site, caller, store, request)
    if request.method in _SAFE or rules.several:
        response = await original(request)
    else:
        async with store.unit() as unit:
            call.store = unit
            response = await _once(request, call, original)
        call.store = store
    return response if call.afterwards is None else await call.afterwards()


def _target(action: Action, caller: Caller, request: Request) -> Target:
    if action is Action.RUN_POOLS:
        return Target("what all tenants share", None)
    return Target(request.url.path, caller.tenant)


def _check_parameters(request: Request, known: frozenset[str]) -> None:
    """Refuse a filter that is none: who misspells one would take the answer for what they asked for."""
    unknown = sorted(set(request.query_params) - known)
    if not unknown:
        return
    detail = "there is no such parameter" + (f", there are: {', '.join(sorted(known))}" if known else ", nor another")
    errors = [{"parameter": name[:_LONGEST_KEY], "in": "query", "detail": detail} for name in unknown[:_MOST_ERRORS]]
    raise ProblemError(422, "the request does not fit; errors say where", errors=errors)


async def _once(request: _Strict, call: Call, original: Callable[[Request], Awaitable[Response]]) -> Response:
    """Answer a request that has an idempotency key as it was answered first."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return await original(request)
    if not 0 < len(key) <= _LONGEST_KEY or not key.isascii() or not key.isprintable():
        raise ProblemError(400, f"Idempotency-Key is 1 to {_LONGEST_KEY} printable ASCII characters")
    whole = [request.method, request.url.path, request.url.query]
    digest = hashlib.sha256("\n".join(whole).encode() + b"\n" + await request.body()).digest()
    kept = await find_answer(call.store, call.tenant, f"{call.caller.credential}/{key}")
    if kept is not None:
        if kept.digest != digest:
            raise ProblemError(422, "the idempotency key was used for another request", code="idempotency_key_reused")
        return Response(kept.body, kept.status, {**kept.headers, "idempotency-replayed": "true"})
    response = await original(request)
    headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
    body = bytes(response.body)
    await keep_answer(
        call.store, call.tenant, f"{call.caller.credential}/{key}", Answer(digest, response.status_code, headers, body)
    )
    return response


async def _read_body(request: _Strict, rules: _Rules) -> None:
    """Read the body within limits; JSON is read strictly."""
    data = await read_body(request.receive, request.headers.get("content-length", "0"))
    request._body = data  # noqa: SLF001 - where Request.body keeps what it has read
    if not data:
        return
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    is_json = kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))
    if rules.raw and (is_json or kind in _YAML):
        return
    if rules.has_body and not is_json:
        raise ProblemError(415, "send application/json" + (" or application/yaml" if rules.raw else ""))
    if rules.has_body:
        try:
            request.state.json = read_json(data)
        except ValueError as error:
            raise ProblemError(422, f"the body: {error}", code="invalid_json") from None


async def read_body(receive: Receive, declared: str) -> bytes:
    """Return the body that ``receive`` brings, bounded in length and time. ``declared``: its Content-Length, else 0.

    Raises:
        ProblemError: 413, it is longer than LONGEST_BODY; 408, it did not come in time.
        ClientDisconnect: its sender went before all of it had come.
    """
    if not declared.isdecimal() or int(declared) > LONGEST_BODY:
        raise _too_long()
    parts, length, more = [], 0, True
    try:
        async with asyncio.timeout(_READ_DEADLINE_S):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                part = message.get("body", b"")
                length += len(part)
                if length > LONGEST_BODY:
                    raise _too_long()
                parts.append(part)
                more = message.get("more_body", False)
    except TimeoutError:
        raise ProblemError(408, "the body did not come in time", headers={"Connection": "close"}) from None
    return b"".join(parts)


def _too_long() -> ProblemError:
    return ProblemError(413, f"the body is longer than {LONGEST_BODY} bytes", headers={"Connection": "close"})
