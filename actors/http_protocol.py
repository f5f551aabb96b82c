"""HTTP as the Ingress reads it: what is plain by a parser in C, as nearly every request is; what is not, by h11.

The parser in C takes more than it should: other versions, requests without a host, bodies in several encodings, and a
wish to switch protocols, for which it leaves the body unread. A head that is not plain is read again, from its first
byte, by h11; that takes it or says 400.
"""

import asyncio
from typing import Any, Final
from urllib.parse import unquote

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

LONGEST_PART: Final = 32 * 1024
"""Of a head that is not whole, and of what is between two pieces of a body; past it nobody says more than 400."""
_MOST_WAITING: Final = 16
"""So many requests may stand behind one that is being answered; what comes then is not read."""


def _is_absolute(target: bytes) -> bool:
    return target[:7].lower() == b"http://"


class _NotPlainError(Exception):
    """The head is for h11 to judge."""


class HttpProtocol(HttpToolsProtocol):
    """One connection, as uvicorn makes it."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._in_head = False
        self._in_message = False
        self._fresh = False
        """Whether no byte of what is read now is of an earlier request."""
        self._alone = False
        """Whether the request has a connection without earlier ones that are unanswered or in the same bytes."""
        self._raw = b""
        """What came since the last head was whole, without a body."""
        self._unheard = 0
        """How many bytes came since the last part that was whole."""
        self._running: RequestResponseCycle | None = None
        """What is being answered; ``cycle`` is what came last."""

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_running()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        self._fresh = not self._in_message
        if self._fresh or self._in_head:
            self._raw += data
        self._unheard += len(data)
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if self._in_head and self._alone:
                self._hand_over()
            else:
                self._refuse()
        else:
            if self._unheard > LONGEST_PART:
                self._refuse()

    def on_message_begin(self) -> None:
        self._alone = self._fresh and self._is_idle()
        self._in_head, self._in_message, self._fresh = True, True, False
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # else it is behind the body, and nobody asked for it
            super().on_header(name, value.strip(b" \t"))

    def on_headers_complete(self) -> None:
        if not self._is_plain():
            raise _NotPlainError
        target = self.url
        if _is_absolute(target):
            self.url = b"/"  # else its host would be dropped
        super().on_headers_complete()
        if target is not self.url:
            raw, _, query = target.partition(b"?")
            self.scope |= {"raw_path": raw, "path": unquote(raw.decode("ascii")), "query_string": query}
        self._in_head, self._raw, self._unheard = False, b"", 0

    def on_body(self, body: bytes) -> None:
        self._unheard = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_message, self._unheard = False, 0
        super().on_message_complete()

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete  # type: ignore[redundant-expr]  # None at first

    def _is_plain(self) -> bool:
        line = b"%s %s HTTP/1.1\r\n" % (self.parser.get_method(), self.url)
        named, names = dict(self.headers), [name for name, _ in self.headers]
        return (
            (self._raw.startswith(line) if self._alone else self.parser.get_http_version() == "1.1")
            and not self.parser.should_upgrade()
            and len(self.pipeline) < _MOST_WAITING
            and (self.url.startswith(b"/") or _is_absolute(self.url))
            and b"#" not in self.url
            and names.count(b"host") == 1
            and named.get(b"transfer-encoding", b"chunked") == b"chunked"
        )

    def _hand_over(self) -> None:
        """Leave the connection to h11 from here on."""
        other = H11Protocol(self.config, self.server_state, self.app_state, self.loop)
        self.connections.discard(self)
        self.transport.set_protocol(other)
        other.connection_made(self.transport)
        other.data_received(self._raw)

    def _refuse(self) -> None:
        """Read no more, and close the connection when all that came before is answered."""
        if self._in_head and not self._is_idle():
            self.cycle.keep_alive = False
            self.flow.pause_reading()
            return
        if self._in_head or not (self._is_idle() or self.cycle.response_started or self.pipeline):
            self.send_400_response("Invalid HTTP request received.")
        self._end_running()
        self.transport.close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _end_running(self) -> None:
        """Say to what is being answered that nobody is there."""
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
