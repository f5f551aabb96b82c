"""Ingress: serves HTTP for the life of its process, and drains: what is being answered is answered.

Hears   HTTP
Says    event.received
Writes  what is asked for over HTTP, by the functions that the commands use
"""

import asyncio
import contextlib
import errno
import random
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import structlog
import uvicorn

from actors.http_protocol import LONGEST_PART, HttpProtocol
from scheduler.clock import Clock
from scheduler.errors import ConfigurationError
from scheduler.service import Service

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_GRACE_S: Final = 10
"""So long may an answer take that was begun before a drain."""
_BACKLOG: Final = 256


@dataclass(frozen=True, slots=True)
class Listen:
    host: str
    port: int
    or_any: bool = False
    """Take any port when that one is taken."""
    concurrency: int = 500


class Ingress(Service):
    """Serves one ASGI application; ``port`` is known after ``start``."""

    def __init__(
        self, app: Any, listen: Listen, clock: Clock, rng: random.Random, end_streams: Callable[[], None]
    ) -> None:
        """``end_streams`` ends answers that would go on and on; it is called by a drain."""
        super().__init__("ingress", clock, rng)
        self._end_streams = end_streams
        self._app = app
        self._listen = listen
        self._socket: socket.socket | None = None
        self._server: _Server | None = None
        self._over = asyncio.Event()
        self.port = 0

    async def start(self) -> None:
        """Listen.

        Raises:
            ConfigurationError: the address cannot be used.
        """
        try:
            self._socket = _bound(self._listen.host, self._listen.port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not self._listen.or_any:
                raise self._refused(error) from None
            self._socket = _bound(self._listen.host, 0)
        self.port = self._socket.getsockname()[1]
        self.keep("http", self._serve)
        log.info("ingress.listening", host=self._listen.host, port=self.port)

    async def drain(self) -> None:
        self.draining = True
        if self._server is not None:
            self._server.should_exit = True
            self._end_streams()
            await self._over.wait()
        await self.stop()

    async def stop(self) -> None:
        await super().stop()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def _serve(self) -> None:
        if self._socket is None or self._socket.fileno() < 0:  # it was closed with the server that ended
            self._socket = _bound(self._listen.host, self.port)
        server = self._server = _Server(
            uvicorn.Config(
                self._app,
                http=HttpProtocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=_BACKLOG,
                limit_concurrency=self._listen.concurrency,
                timeout_graceful_shutdown=_GRACE_S,
                h11_max_incomplete_event_size=LONGEST_PART,
            )
        )
        self._over.clear()
        try:
            await server.serve(sockets=[self._socket])
        finally:
            for listener in getattr(server, "servers", ()):
                listener.close()
            self._over.set()

    def _refused(self, error: OSError) -> ConfigurationError:
        reason = (error.strerror or str(error)).lower()
        return ConfigurationError(f"cannot listen on {self._listen.host}:{self._listen.port}: {reason}")


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process, which drains everything in its order."""
        yield


def _bound(host: str, port: int) -> socket.socket:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = found[0]
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(_BACKLOG)
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    return made
