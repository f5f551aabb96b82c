"""The request of an http run: checked, with its secrets in place, signed; and what a redirect makes of it."""

import base64
import binascii
import hmac
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

from yarl import URL

from scheduler import __version__
from scheduler.domain.causation import DEPTH_HEADER
from scheduler.sandbox.environment import UnusableOrderError
from schemas.work import HttpWork

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
RESERVED_HEADERS: Final = frozenset(
    {"connection", "content-length", "expect", "host", "keep-alive", "proxy-authorization", "proxy-connection", "te"}
    | {"trailer", "transfer-encoding", "upgrade"}
)
LEAST_SIGNING_BYTES: Final = 16

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_UNFIT_FOR_VALUE: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_OWN: Final = {"User-Agent": f"actor-scheduler/{__version__}"}


@dataclass(frozen=True, slots=True)
class HttpRequest:
    method: str
    url: URL
    headers: Mapping[str, str]
    data: bytes | None

    def redirected(self, status: int, location: str | None) -> "HttpRequest":
        """Return the request that a redirect asks for, as browsers and RFC 9110 have it.

        To another origin nothing of the job's goes along: no header, no signature, no body.

        Raises:
            UnusableOrderError: there is no usable place to go to, it is less safe, or the body would have to go
                to another origin.
        """
        if not location:
            raise UnusableOrderError(f"HTTP status {status} without a place to go to")
        url = self.url.join(checked_url(location, relative=True))
        checked_url(str(url))
        if self.url.scheme == "https" and url.scheme != "https":
            raise UnusableOrderError(f"HTTP status {status}: a redirect from https to http is not followed")
        becomes_get = (status == 303 and self.method != "HEAD") or (status in {301, 302} and self.method == "POST")  # noqa: PLR2004 - the statuses by their numbers
        method, data = ("GET", None) if becomes_get else (self.method, self.data)
        if url.origin() == self.url.origin():
            kept = {name: value for name, value in self.headers.items() if data or name.lower() != "content-type"}
            return replace(self, method=method, url=url, headers=kept, data=data)
        if data is not None:
            raise UnusableOrderError(f"HTTP status {status}: a body is not sent on to another origin")
        return HttpRequest(method, url, _OWN, None)


def make_request(
    work: HttpWork, secrets: Mapping[str, str], *, run_id: UUID, now_s: float, traceparent: str | None = None
) -> HttpRequest:
    """Return the request that ``work`` asks for; ``now_s`` is Unix time, for the signature.

    A ``traceparent`` of the job's own goes before the one given here.

    Raises:
        UnusableOrderError: it cannot be sent; the text holds no value of a secret.
    """
    work = _with_secrets(work, secrets)
    if work.method.upper() not in METHODS:
        raise UnusableOrderError(f"the method {work.method!r} is not one of {', '.join(sorted(METHODS))}")
    if work.body is not None and work.json_body is not None:
        raise UnusableOrderError("a request has a body or a json body, not both")
    headers = _checked_headers(work.headers)
    data = work.body.encode() if work.body is not None else None
    if work.json_body is not None:
        data = json.dumps(work.json_body).encode()
        if not any(name.lower() == "content-type" for name in headers):
            headers["Content-Type"] = "application/json"
    if traceparent is not None and not any(name.lower() == "traceparent" for name in headers):
        headers["traceparent"] = traceparent
    headers = {name: value for name, value in headers.items() if name.lower() != DEPTH_HEADER}
    headers[DEPTH_HEADER] = str(work.depth)
    if work.sign_with is not None:
        headers |= _signature(work.sign_with, secrets, data or b"", run_id=run_id, now_s=now_s)
    return HttpRequest(work.method.upper(), checked_url(work.url), headers, data)


def checked_url(text: str, *, relative: bool = False) -> URL:
    """Return the address, if a job may name it.

    Raises:
        UnusableOrderError: it is not http or https with a host, or holds an account. Says no part of it.
    """
    try:
        url = URL(text)
        if not (relative and not url.absolute) and (url.scheme not in {"http", "https"} or not url.host):
            raise UnusableOrderError("the url must be http:// or https:// with a host")
    except UnusableOrderError:
        raise
    except ValueError:
        raise UnusableOrderError("the url is not valid") from None
    if url.user is not None or url.password is not None:
        raise UnusableOrderError("the url must not hold a user or password")
    return url


def _checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    checked = dict(_OWN)
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            raise UnusableOrderError(f"{name!r} cannot be the name of a header")
        if name.lower() in RESERVED_HEADERS:
            raise UnusableOrderError(f"the header {name} is set by the scheduler")
        if _UNFIT_FOR_VALUE.search(value):
            raise UnusableOrderError(f"the value of the header {name} holds control characters")
        if name.lower() == "user-agent":
            checked.pop("User-Agent", None)
        checked[name] = value
    return checked


def _with_secrets(work: HttpWork, secrets: Mapping[str, str]) -> HttpWork:
    """Put the values where the marks stand; in one pass, so that a value is never read as a mark."""
    if work.secret_mark is None:
        return work
    marks = re.compile(f"<{re.escape(work.secret_mark)} ([A-Za-z_][A-Za-z0-9_]*)>")

    def value_of(found: re.Match[str]) -> str:
        if found[1] not in secrets:
            raise UnusableOrderError(f"the job has no secret {found[1]}")
        return secrets[found[1]]

    def fill(text: str) -> str:
        return marks.sub(value_of, text)

    return work.model_copy(
        update={
            "url": fill(work.url),
            "headers": {name: fill(value) for name, value in work.headers.items()},
            "body": None if work.body is None else fill(work.body),
            "json_body": _filled(work.json_body, fill),
        }
    )


def _filled(value: Any, fill: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return fill(value)
    if isinstance(value, dict):
        return {key: _filled(item, fill) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_filled(item, fill) for item in value]
    return value


def _signature(name: str, secrets: Mapping[str, str], body: bytes, *, run_id: UUID, now_s: float) -> dict[str, str]:
    """Return the headers of Standard Webhooks. The id is the run's: its attempts are one message."""
    if name not in secrets:
        raise UnusableOrderError(f"the job has no secret {name} to sign with")
    text = secrets[name].removeprefix("whsec_")
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) < LEAST_SIGNING_BYTES:
        raise UnusableOrderError(
            f"the secret {name} cannot sign: whsec_ and the base64 of {LEAST_SIGNING_BYTES} bytes or more is needed"
        )
    stamp = str(int(now_s))
    signed = hmac.digest(key, f"{run_id}.{stamp}.".encode() + body, "sha256")
    return {
        "webhook-id": str(run_id),
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{base64.b64encode(signed).decode()}",
    }
