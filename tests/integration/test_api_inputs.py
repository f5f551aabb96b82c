"""Twenty thousand hostile inputs, by a fixed seed: requests that are none, and bodies that are nearly right."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Iterator
from typing import Final

import pytest

from tests.support.api import TRUE, Api, serving

RAW: Final = 16_000
BODIES: Final = 4_000
AT_ONCE: Final = 8
HEADS: Final = (
    b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /api/v1/runs?limit=5&state=failed HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x.y.z\r\n\r\n",
    b"GET /api/v1/feed?after=1-1-1 HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: 0-0-0\r\n\r\n",
    b"POST /api/v1/jobs/a/run HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Type: text/json\r\n\r\n{}",
    b"PUT /api/v1/jobs/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
)  # fmt: skip
PIECES: Final = (
    b"\0", b"\r\n", b"\n", b" ", b"%00", b"%ff", b"../", b"{", b"\xff\xfe", b"\x80", b"9" * 30, b"A" * 300, b":", b"?",
    b"#", b";", b",", b"-1", b"\r\n\r\n", b"chunked", b"HTTP/9.9", b"CONNECT ", b"\xe2\x80\xae",
)  # fmt: skip
GOOD: Final = {
    "/api/v1/events": {"topic": "orders.eu", "data": {"id": 7, "x": [1.5, None]}, "id": "o-7", "subject": "seven"},
    "/api/v1/jobs/a/run": {"params": {"day": "2026-03-01", "n": 3}},
    "/api/v1/definitions/plan": {"version": 1, "jobs": {"b": {"run": {"command": ["true"]}, "needs": ["a"]}}},
    "/api/v1/jobs/a/pause": {"note": "the database moves"},
    "/api/v1/runs:batch": {"runs": [{"job": "a", "params": {"n": 1}}]},
    "/api/v1/jobs/a/backfill": {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z", "dry_run": True},
}


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_twenty_thousand_hostile_inputs_make_no_fault(database_url: str) -> None:
    async with serving(database_url, http={"per_second": 100_000, "failures_per_minute": 100_000}) as api:
        await api.apply(a=TRUE)
        found: Counter[int] = Counter()
        rng = random.Random(29)
        inputs = iter([*_raw(rng), *_bodies(rng)])
        async with asyncio.TaskGroup() as senders:
            for _ in range(AT_ONCE):
                senders.create_task(_send(api, inputs, found))

        assert found.total() == RAW + BODIES
        assert {status for status in found if status >= 500} == set(), found
        assert found[400] + found[404] + found[405] + found[422] > RAW // 2
        assert (await api.get("/readyz")).status == 200
        assert (await api.get("/api/v1/jobs/a")).status == 200


async def _send(api: Api, inputs: Iterator[bytes], found: Counter[int]) -> None:
    for data in inputs:
        found[await _status(api, data)] += 1


async def _status(api: Api, data: bytes) -> int:
    """Return the status of the first answer; 0 where there is none since more was announced than came."""
    reading, writing = await asyncio.open_connection("127.0.0.1", api.ingress.port)
    try:
        writing.write(data)
        writing.write_eof()
        async with asyncio.timeout(20):
            line = await reading.readline()
        return int(line.split()[1]) if line else 0
    except ConnectionError:
        return 0
    finally:
        writing.close()


def _raw(rng: random.Random) -> Iterator[bytes]:
    """Yield requests that were broken on the way."""
    for _ in range(RAW):
        yield _mutated(rng, rng.choice(HEADS), PIECES)


def _bodies(rng: random.Random) -> Iterator[bytes]:
    """Yield requests whose bodies were broken."""
    pieces = (
        *PIECES,
        b"NaN",
        b"1e999",
        b"\\ud800",
        b"\\u0000",
        b"[" * 80,
        b"null",
        b"true",
        b"{}",
        b'""',
        b"'",
        b'","',
    )
    paths = list(GOOD)
    for _ in range(BODIES):
        path = rng.choice(paths)
        body = _mutated(rng, json.dumps(GOOD[path]).encode(), pieces)
        yield (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body


def _mutated(rng: random.Random, good: bytes, pieces: tuple[bytes, ...]) -> bytes:
    data = bytearray(good)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(5):
            case 0:
                data[at:at] = rng.choice(pieces)
            case 1:
                data[at : at + 1] = bytes([rng.randrange(256)])
            case 2:
                del data[at : at + rng.randrange(1, 8)]
            case 3:
                data[at:at] = data[rng.randrange(len(data) + 1) :][: rng.randrange(40)]
            case _:
                data[at : at + rng.randrange(6)] = rng.randbytes(rng.randrange(6))
    return bytes(data)
