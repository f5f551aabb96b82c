"""Senders of signed webhooks: requests leave at their instants, whether or not earlier ones are answered."""

import asyncio
import base64
import hmac
import json
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from benchmarks.load import BenchmarkError

SECRET: Final = "whsec_" + base64.b64encode(bytes(range(32))).decode()
_KEY: Final = bytes(range(32))
_PATIENCE_S: Final = 60.0


@dataclass(slots=True)
class Answers:
    """What came back; ``seconds`` from the instant a request was due, waiting for a free connection included."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    took_s: float = 0.0
    """From the first request's instant to the last answer."""


class Senders:
    """So many connections to one endpoint, kept open."""

    def __init__(self, port: int, path: str, connections: int) -> None:
        self._port = port
        self._path = path
        self._count = connections
        self._idle: deque[_Connection] = deque()
        self._due: deque[tuple[float, bytes]] = deque()
        self._sent = 0

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(self._count):
            _, made = await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self._port)
            self._idle.append(made)

    async def close(self) -> None:
        for connection in self._idle:
            connection.close()
        await asyncio.sleep(0)

    async def send(self, count: int, per_s: float) -> Answers:
        """Send ``count`` at ``per_s`` and return when all are answered."""
        requests = [self._request(f"msg_{self._sent + n}") for n in range(count)]
        self._sent += count
        self.answers, self._left, self._over = Answers(), count, asyncio.Event()
        start = time.monotonic() + 0.1
        for number, request in enumerate(requests):
            at = start + number / per_s
            if (wait_s := at - time.monotonic()) > 0:
                await asyncio.sleep(wait_s)
            self._due.append((at, request))
            self._go()
        async with asyncio.timeout(_PATIENCE_S):
            await self._over.wait()
        self.answers.took_s = time.monotonic() - start
        return self.answers

    def answered(self, connection: "_Connection", status: int, due: float) -> None:
        self.answers.statuses[status] += 1
        self.answers.seconds.append(time.monotonic() - due)
        self._left -= 1
        self._idle.append(connection)
        if self._left:
            self._go()
        else:
            self._over.set()

    def _go(self) -> None:
        while self._due and self._idle:
            self._idle.popleft().send(*self._due.popleft())

    def _request(self, delivery: str) -> bytes:
        body = json.dumps({"order": delivery, "amount": 120, "lines": ["a" * 40] * 8}).encode()
        stamp = str(int(time.time()))
        mac = hmac.digest(_KEY, f"{delivery}.{stamp}.".encode() + body, "sha256")
        lines: Sequence[str] = (
            f"POST {self._path} HTTP/1.1",
            "Host: localhost",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            f"webhook-id: {delivery}",
            f"webhook-timestamp: {stamp}",
            f"webhook-signature: v1,{base64.b64encode(mac).decode()}",
        )
        return "\r\n".join((*lines, "", "")).encode() + body


class _Connection(asyncio.Protocol):
    def __init__(self, senders: Senders) -> None:
        self._senders = senders
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def send(self, due: float, request: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            raise BenchmarkError("the ingress closed a connection")
        self._due = due
        self._transport.write(request)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        if len(body) >= length:
            self._buffer = b""
            self._senders.answered(self, int(head[9:12]), self._due)
