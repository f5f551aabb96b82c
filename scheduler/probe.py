"""The probe server of a process: alive, ready, metrics. Tells no secrets.

/livez, /healthz   200 while the loop turns
/readyz            200 and [], or 503 and a list of {"part", "trouble"}; Server-Timing tells round trips
/metrics           Prometheus text, of all tenants: for who has the token, if there is one
"""

import errno
import hmac
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog
from aiohttp import web

from scheduler.domain.addresses import is_loopback
from scheduler.errors import ConfigurationError
from scheduler.metrics import CONTENT_TYPE, Metrics

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_SHORTEST_TOKEN: Final = 32

Troubles = Callable[[], Awaitable[Mapping[str, str]]]
RoundTrips = Callable[[], Mapping[str, float]]


class Probe:
    """``start``, ``port``, ``close``. ``troubles`` says what keeps the process from being ready.

    ``round_trips`` says how many seconds a message took through each part, after ``troubles`` was asked.
    """

    def __init__(self, metrics: Metrics, troubles: Troubles, round_trips: RoundTrips, token: str | None = None) -> None:
        self._token = token
        self._round_trips = round_trips
        self._metrics = metrics
        self._troubles = troubles
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self, host: str, port: int, *, or_any: bool) -> None:
        """Listen on ``port``; with ``or_any`` on any other when it is taken.

        Raises:
            ConfigurationError: the address cannot be used, or anybody could read or guess what is asked for.
        """
        if self._token is not None and len(self._token) < _SHORTEST_TOKEN:
            raise ConfigurationError(f"probe_token is shorter than {_SHORTEST_TOKEN} characters")
        if self._token is None and not is_loopback(host):
            raise ConfigurationError(
                f"anybody could read /metrics, as probe_host {host} is beyond loopback: set probe_token"
            )
        app = web.Application()
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/healthz", self._livez)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._read_metrics)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1)
        await self._runner.setup()
        try:
            await self._listen(host, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not or_any:
                reason = (error.strerror or str(error)).lower()
                raise ConfigurationError(f"cannot listen on {host}:{port}: {reason}") from None
            await self._listen(host, 0)
        log.info("probe.listening", host=host, port=self.port)

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _listen(self, host: str, port: int) -> None:
        if self._runner is None:
            raise RuntimeError("the probe is not set up")
        await web.TCPSite(self._runner, host, port).start()
        self.port = int(self._runner.addresses[0][1])

    async def _livez(self, _request: web.Request) -> web.Response:
        return web.json_response({"alive": True})

    async def _readyz(self, _request: web.Request) -> web.Response:
        troubles = await self._troubles()
        parts = [{"part": part, "trouble": trouble} for part, trouble in sorted(troubles.items())]
        times = ", ".join(f"{part};dur={seconds * 1000:.2f}" for part, seconds in self._round_trips().items())
        headers = {"Server-Timing": times} if times else None
        return web.json_response(parts, status=503 if parts else 200, headers=headers)

    async def _read_metrics(self, request: web.Request) -> web.Response:
        if self._token is not None:
            given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
            if not hmac.compare_digest(given, f"Bearer {self._token}".encode()):
                return web.Response(status=401, headers={"WWW-Authenticate": "Bearer"})
        ready = not await self._troubles()
        await self._metrics.refresh()
        body = self._metrics.render(ready=ready, round_trips=self._round_trips())
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})
