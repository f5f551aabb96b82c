"""Runs one attempt as an HTTP request, under the operator's network policy."""

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any
from uuid import UUID

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from scheduler.clock import Clock
from scheduler.ports import AttemptContext, Ended, StopRequest
from scheduler.sandbox.address_guard import NetworkPolicy
from scheduler.sandbox.environment import UnusableOrderError, attempt_traceparent
from scheduler.sandbox.failure import bases_of
from scheduler.sandbox.http_request import REDIRECTS, HttpRequest, make_request
from scheduler.sandbox.output import OutputBuffer, one_line
from scheduler.sandbox.results import UnusableResultError, parse_result
from scheduler.sandbox.supervised import within_limits
from schemas.vocabulary import Outcome
from schemas.work import HttpWork, WorkOrder

RESPONSE_BYTES = 1024 * 1024
_MAX_RETRY_AFTER_S = 7 * 86_400.0
_CONNECT_S = 30.0
_OF_BODY = ("Content-Type",)
"""What the client would add for a body, be there one or not."""


class HttpRuns:
    """Sends requests; each on a connection of its own, so that no run sees another's cookies or sockets."""

    def __init__(self, network: NetworkPolicy, clock: Clock) -> None:
        self._network = network
        self._clock = clock

    async def run(
        self,
        order: WorkOrder,
        work: HttpWork,
        context: AttemptContext,
        stop: StopRequest,
        secrets: Mapping[str, str],
    ) -> Ended:
        """Return how the request ended; 2xx is success. CancelledError ends it."""
        attempt = self._attempt(work, order.flow_id, context, secrets)
        return await within_limits(attempt, order.limits, stop, self._clock)

    async def _attempt(
        self, work: HttpWork, flow_id: UUID, context: AttemptContext, secrets: Mapping[str, str]
    ) -> Ended:
        try:
            now_s = self._clock.now().timestamp()
            trace = attempt_traceparent(flow_id, context)
            request = make_request(work, secrets, run_id=context.run_id, now_s=now_s, traceparent=trace)
            return await self._send(request, work.redirects)
        except UnusableOrderError as error:
            return Ended(Outcome.FAILED, reason=one_line(str(error)))
        except (aiohttp.ClientError, HttpProcessingError, OSError, TimeoutError, ValueError) as error:
            bases = bases_of(error)
            return Ended(
                Outcome.FAILED, reason=_wire_reason(error), exception=type(error).__name__, exception_bases=bases
            )

    async def _send(self, request: HttpRequest, redirects: int) -> Ended:
        """Send, and follow redirects by hand: each is a connection of its own, which the guard looks at."""
        connector = aiohttp.TCPConnector(socket_factory=self._network.open_socket, force_close=True, limit=1)
        async with aiohttp.ClientSession(
            connector=connector,
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S),
        ) as session:
            while True:
                async with session.request(
                    request.method,
                    request.url,
                    headers=request.headers,
                    data=request.data,
                    allow_redirects=False,
                    skip_auto_headers=() if request.data else _OF_BODY,
                ) as response:
                    if response.status not in REDIRECTS or redirects == 0:
                        return await self._judge(response)
                    request = request.redirected(response.status, response.headers.get("Location"))
                    redirects -= 1

    async def _judge(self, response: aiohttp.ClientResponse) -> Ended:
        body = bytearray()
        output = OutputBuffer()
        async for chunk in response.content.iter_chunked(64 * 1024):
            body += chunk
            if len(body) > RESPONSE_BYTES:
                response.close()
                break
        cut = len(body) > RESPONSE_BYTES
        output.feed(bytes(body[:RESPONSE_BYTES]))
        good = 200 <= response.status < 300  # noqa: PLR2004 - the class of success
        reason = None if good else f"HTTP status {response.status}"
        if cut:
            reason = f"HTTP status {response.status}, response cut at 1 MiB"
        return Ended(
            Outcome.SUCCEEDED if good else Outcome.FAILED,
            reason=reason,
            http_status=response.status,
            retry_after_s=None if good else self._retry_after(response.headers.get("Retry-After")),
            result=None if cut else _json_result(response, bytes(body)),
            output=output.finish(),
        )

    def _retry_after(self, value: str | None) -> float | None:
        """Seconds or an HTTP date (RFC 9110); what is neither counts as absent; a week at most."""
        if value is None:
            return None
        if re.fullmatch(r"[0-9]{1,9}", value.strip()):
            return min(float(value), _MAX_RETRY_AFTER_S)
        try:
            at = parsedate_to_datetime(value)
        except (ValueError, TypeError):
            return None
        if at.tzinfo is None:
            at = at.replace(tzinfo=UTC)
        return min(max(0.0, (at - self._clock.now()).total_seconds()), _MAX_RETRY_AFTER_S)


def _json_result(response: aiohttp.ClientResponse, body: bytes) -> Any:
    if response.content_type != "application/json" or not body:
        return None
    try:
        return parse_result(body)
    except UnusableResultError:  # the text of the response is in the output
        return None


def _wire_reason(error: Exception) -> str:
    """Say what failed on the wire; a refused address is named by our words, not by the address it has."""
    cause: BaseException | None = error
    while cause is not None:
        for what in ("address", "port"):
            if f"the {what} is not allowed" in str(cause):
                return f"refused: the host's {what} is not allowed for jobs"
        cause = cause.__cause__
    return one_line(f"{type(error).__name__}: {error}")
