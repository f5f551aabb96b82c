"""What is refused before anything of a request is read, and what every answer says to browsers."""

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from scheduler.api.problems import Problem, ProblemError, answer_to
from scheduler.domain.addresses import is_loopback

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LONGEST_ADDRESS: Final = 8 * 1024
LONGEST_HEADERS: Final = 16 * 1024
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
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
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_on(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                names = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(said for said in _SAID if said[0] not in names)]
            await send(message)

        try:
            self._check(scope)
        except ProblemError as error:
            refusal: Problem = answer_to(error, scope["path"][:LONGEST_ADDRESS])
            refusal.headers["connection"] = "close"
            await refusal(scope, receive, send_on)
            return
        await self._app(scope, receive, send_on)

    def _check(self, scope: Scope) -> None:
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        address = len(scope.get("raw_path") or b"") + len(scope["query_string"])
        if address > LONGEST_ADDRESS:
            raise ProblemError(414, f"the address is longer than {LONGEST_ADDRESS} bytes")
        if sum(len(name) + len(value) + 4 for name, value in headers) > LONGEST_HEADERS:
            raise ProblemError(431, f"the headers are longer than {LONGEST_HEADERS} bytes")
        if b"%00" in (scope.get("raw_path") or b"") + scope["query_string"]:
            raise ProblemError(400, "the address contains NUL")
        given: dict[str, list[str]] = {}
        for name, value in headers:
            given.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        if "transfer-encoding" in given and "content-length" in given:
            raise ProblemError(400, "a request has Content-Length or Transfer-Encoding, not both")
        if any(len(given.get(name, ())) > 1 for name in ("host", "content-length", "authorization", "content-type")):
            raise ProblemError(400, "a header that is one was given twice")
        if given.get("content-encoding", ["identity"]) != ["identity"]:
            raise ProblemError(415, "send the body as it is, not compressed")
        host = self._check_host(given.get("host", [""])[0])
        if scope["method"] not in _SAFE:
            _check_origin(given, host)

    def _check_host(self, given: str) -> str:
        try:
            host = urlsplit(f"//{given}").hostname or ""
        except ValueError:
            host = ""
        if self._hosts is not None and not is_loopback(host) and host not in self._hosts:
            raise ProblemError(421, "this is not the host that Host names; see http.allowed_hosts")
        return given


def _check_origin(given: dict[str, list[str]], host: str) -> None:
    """Refuse what another site's page has a browser send."""
    site = given.get("sec-fetch-site", ["none"])[0]
    origins = given.get("origin", [])
    if site not in {"none", "same-origin"} or any(_netloc(origin) != host for origin in origins):
        raise ProblemError(403, "sent by a page of another site", code="cross_site")


def _netloc(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None
