"""What is refused before anything of a request is read, and what every answer says to browsers."""

import functools
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from scheduler.api.problems import Problem, ProblemError, answer_to
from scheduler.domain.addresses import is_loopback

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LONGEST_ADDRESS: Final = 8 * 1024
LONGEST_HEADERS: Final = 16 * 1024
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_ONCE: Final = {
    name.encode(): name
    for name in ("host", "content-length", "transfer-encoding", "authorization", "content-type", "content-encoding",
                 "sec-fetch-site")
}  # fmt: skip
_SAID: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)


class Guard:
    """An ASGI application around another. ``hosts``: what Host may name beside loopback; None: anything."""

    def __init__(self, app: App, hosts: Sequence[str] | None) -> None:
        self._app = app
        self._hosts = None if hosts is None else tuple(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_on(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                names = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(said for said in _SAID if said[0] not in names)]
            await send(message)

        try:
            scope = _with_own_target(scope)
            self._check(scope)
        except ProblemError as error:
            refusal: Problem = answer_to(error, scope["path"][:LONGEST_ADDRESS])
            refusal.headers["connection"] = "close"
            await refusal(scope, receive, send_on)
            return
        await self._app(scope, receive, send_on)

    def _check(self, scope: Scope) -> None:
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        path, query = scope.get("raw_path") or b"", scope["query_string"]
        if len(path) + len(query) > LONGEST_ADDRESS:
            raise ProblemError(414, f"the address is longer than {LONGEST_ADDRESS} bytes")
        if sum([len(name) + len(value) + 4 for name, value in headers]) > LONGEST_HEADERS:
            raise ProblemError(431, f"the headers are longer than {LONGEST_HEADERS} bytes")
        if b"%00" in path or b"%00" in query:
            raise ProblemError(400, "the address contains NUL")
        given = _given_once(headers)
        if "transfer-encoding" in given and "content-length" in given:
            why = "a request has Content-Length or Transfer-Encoding, not both"
            raise ProblemError(400, why, headers={"Connection": "close"})  # a proxy may have seen another end of it
        if given.get("content-encoding", "identity") != "identity":
            raise ProblemError(415, "send the body as it is, not compressed")
        host = given.get("host", "")
        if self._hosts is not None and not _names_one_of(host, self._hosts):
            raise ProblemError(421, "this is not the host that Host names; see http.allowed_hosts")
        if scope["method"] not in _SAFE:
            _check_site(
                given.get("sec-fetch-site", "none"), [value for name, value in headers if name == b"origin"], host
            )


def _with_own_target(scope: Scope) -> Scope:
    """Return ``scope`` as if it came with a path, where its target is absolute: RFC 9112, 3.2.2.

    Its host is that of the target then, whatever Host says, so that all that judges by Host judges by that.
    """
    scheme, separator, rest = (scope.get("raw_path") or b"").partition(b"://")
    if not separator or b"/" in scheme:
        return scope
    if scheme.lower() != b"http":  # what is to come by TLS only (RFC 9110, 7.4), or is nothing that we serve
        raise ProblemError(421, "this is not a target of ours: its scheme is not http")
    host, slash, path = rest.partition(b"/")
    if not host or b"@" in host:
        raise ProblemError(400, "the target names no host, or a user")
    raw = slash + path or b"/"
    headers = [(name, host if name == b"host" else value) for name, value in scope["headers"]]
    if all(name != b"host" for name, _ in headers):
        headers.append((b"host", host))
    return {**scope, "raw_path": raw, "path": unquote(raw.decode("ascii")), "headers": headers}


def _given_once(headers: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return those headers that decide something here or mean one thing only."""
    given: dict[str, str] = {}
    for raw, value in headers:
        name = _ONCE.get(raw)
        if name is not None:
            if name in given:
                raise ProblemError(400, "a header that is one was given twice")
            given[name] = value.decode("latin-1")
    return given


@functools.lru_cache(maxsize=64)
def _names_one_of(given: str, hosts: tuple[str, ...]) -> bool:
    """Return whether a Host header names this machine's loopback or one of ``hosts``."""
    try:
        host = urlsplit(f"//{given}").hostname or ""
    except ValueError:
        return False
    return is_loopback(host) or host in hosts


def _check_site(site: str, origins: Sequence[bytes], host: str) -> None:
    """Refuse what another site's page has a browser send."""
    if site not in {"none", "same-origin"} or any(_netloc(origin.decode("latin-1")) != host for origin in origins):
        raise ProblemError(403, "sent by a page of another site", code="cross_site")


def _netloc(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None
