"""Streams of server-sent events: what one says, how many there may be, when they end."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

import structlog
from fastapi import Header
from fastapi.responses import StreamingResponse
from pydantic_core import to_json

from scheduler.api.authentication import too_many
from scheduler.clock import Clock
from scheduler.errors import SchedulerError

log: structlog.stdlib.BoundLogger = structlog.get_logger()

CONTENT_TYPE: Final = "text/event-stream"
_PING_S: Final = 15.0
_LONGEST_S: Final = 900.0
"""Then a stream ends and its reader comes again, and is asked again who it is."""
_RETRY_S: Final = 5.0
_BEGIN: Final = b"retry: 2000\n\n"
LastEventId = Annotated[str | None, Header(max_length=64, description="Where a stream goes on, before any parameter.")]
_HEADERS: Final = {"X-Accel-Buffering": "no", "Cache-Control": "no-store"}


@dataclass(frozen=True, slots=True)
class Said:
    """One event. Without ``event`` nothing has happened; ``id`` is where a reader goes on that comes again."""

    id: str
    event: str | None = None
    data: Any = None


Source = AsyncGenerator[Said, None]
"""What there is to say; after each look that found nothing, a Said without an event."""


class Streams:
    """The streams that are open, by caller; all of them end when the process is to go."""

    def __init__(self, most: int, clock: Clock) -> None:
        """``most``: of one caller at a time."""
        self._most = most
        self._clock = clock
        self._open: Counter[str] = Counter()
        self._over = asyncio.Event()

    def end(self) -> None:
        """End all of them, and those that come."""
        self._over.set()

    async def pause(self, seconds: float) -> None:
        """Wait; no longer than streams may go on."""
        try:
            async with asyncio.timeout(seconds):
                await self._over.wait()
        except TimeoutError:
            return

    def answer(self, caller: str, source: Source) -> "EventStream":
        """Return the answer that says what ``source`` does.

        Raises:
            ProblemError: 429, the caller has as many as it may.
        """
        if self._open[caller] >= self._most:
            raise too_many(f"no more than {self._most} streams at a time", _RETRY_S)
        self._open[caller] += 1
        return EventStream(self, caller, source)

    def close(self, caller: str) -> None:
        """Count one less."""
        self._open[caller] -= 1
        if not self._open[caller]:
            del self._open[caller]

    async def frames(self, source: Source) -> AsyncGenerator[bytes, None]:
        """Yield what goes over the wire."""
        yield _BEGIN
        begun = spoke = self._clock.monotonic()
        try:
            async for said in source:
                now = self._clock.monotonic()
                if said.event is not None or now - spoke >= _PING_S:
                    yield _frame(said)
                    spoke = now
                if self._over.is_set() or now - begun >= _LONGEST_S:
                    return
        except SchedulerError as error:  # its reader comes again, and is told properly
            log.warning("http.unavailable", error=str(error))


class EventStream(StreamingResponse):
    """An answer that goes on; it is counted until it ends, however it ends."""

    media_type = CONTENT_TYPE

    def __init__(self, streams: Streams, caller: str, source: Source) -> None:
        self._streams = streams
        self._caller = caller
        self._source = source
        self._frames = streams.frames(source)
        super().__init__(self._frames, headers=_HEADERS)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.close(self._caller)
            await self._frames.aclose()
            await self._source.aclose()


def wants_stream(headers: Mapping[str, str]) -> bool:
    """Return whether a request asks for a stream."""
    return CONTENT_TYPE in headers.get("accept", "").lower()


def streams_too(about: str) -> dict[int | str, dict[str, Any]]:
    """Return how an operation says that it answers with a stream as well."""
    content = {CONTENT_TYPE: {"schema": {"type": "string", "description": about}}}
    return {200: {"description": "As JSON; with Accept: text/event-stream as a stream", "content": content}}


def _frame(said: Said) -> bytes:
    if said.event is None:  # a comment; the id counts all the same
        return f"id: {said.id}\n: ping\n\n".encode()
    return f"id: {said.id}\nevent: {said.event}\ndata: ".encode() + to_json(said.data) + b"\n\n"
