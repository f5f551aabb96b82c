"""HTTP as it is read: nothing that h11 would refuse, what it would take as it would take it, each request once."""

import asyncio
import json
import random
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from actors.http_protocol import LONGEST_PART, HttpProtocol
from scheduler.api.guard import Guard

POST = b"POST /a?b=c HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nok"
GET = b"GET /next HTTP/1.1\r\nHost: h\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"
GOOD = {
    "get": GET,
    "post": POST,
    "empty": b"POST / HTTP/1.1\r\nHost: h\r\n\r\n",
    "chunks": CHUNKED + b"2\r\nok\r\n3;ext=1\r\nay!\r\n0\r\n\r\n",
    "trailers": CHUNKED + b"2\r\nok\r\n0\r\nAuthorization: a\r\nX-T: b\r\n\r\n",
    "Chunked": CHUNKED.replace(b"chunked", b"Chunked") + b"0\r\n\r\n",
    "spaces around a value": b"GET / HTTP/1.1\r\nHost: \t h \t\r\nX:\r\nY: \xe9\r\n\r\n",
    "encoded": b"GET /a%2Fb%00%ff?%zz HTTP/1.1\r\nHost: h\r\n\r\n",
    "1.0": b"GET / HTTP/1.0\r\n\r\n",
    "absolute": b"GET http://other/x?y HTTP/1.1\r\nHost: h\r\n\r\n",
    "absolute without a path": b"GET http://other?y HTTP/1.1\r\nHost: h\r\n\r\n",
    "absolute in capitals": b"POST HTTP://O:80/%41 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nok",
    "absolute of another scheme": b"GET https://other/x HTTP/1.1\r\nHost: h\r\n\r\n",
    "all": b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
    "fragment": b"GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n",
    "two slashes": b"GET //other/x HTTP/1.1\r\nHost: h\r\n\r\n",
    "another method": b"BREW / HTTP/1.1\r\nHost: h\r\n\r\n",
    "a wish to switch": GET.replace(b"\r\n\r\n", b"\r\n" + H2C + b"\r\n"),
    "a wish to switch, with a body": POST.replace(b"Content", H2C + b"Content"),
    "a wish that is none": POST.replace(b"Content", b"Upgrade: h2c\r\nContent"),
}
BAD = {
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n",
    "two lengths": POST.replace(b"Content", b"Content-Length: 3\r\nContent"),
    "a length with a sign": POST.replace(b": 2", b": +2"),
    "a list of lengths": POST.replace(b": 2", b": 2, 3"),
    "encodings": CHUNKED.replace(b"chunked", b"gzip, chunked") + b"0\r\n\r\n",
    "encodings behind": CHUNKED.replace(b"chunked", b"chunked, gzip") + b"0\r\n\r\n",
    "identity": CHUNKED.replace(b"chunked", b"identity"),
    "a vertical tab": CHUNKED.replace(b"chunked", b"\x0bchunked") + b"0\r\n\r\n",
    "0.9": b"GET /\r\n\r\n",
    "other protocol": b"GET / RTSP/1.1\r\nHost: h\r\n\r\n",
    "two blanks": GET.replace(b" /", b"  /"),
    "a blank before the colon": GET.replace(b"Host:", b"Host :"),
    "a name that is none": GET.replace(b"Host:", b"X(: 1\r\nHost:"),
    "NUL": GET.replace(b": h", b": h\0"),
    "not ascii": b"GET /\xff HTTP/1.1\r\nHost: h\r\n\r\n",
    "nonsense": b"nonsense\r\n\r\n",
    "blank lines": b"\r\n\r\n" + GET,
    "a chunk of a wrong size": CHUNKED + b"1\r\nok\r\n0\r\n\r\n",
    "a chunk of a vast size": CHUNKED + b"fffffffffffffffff\r\nok\r\n0\r\n\r\n",
}


class Link(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.protocol = protocol
        self.written = b""
        self.closed = False
        protocol.connection_made(self)

    def set_protocol(self, protocol):
        self.protocol = protocol

    def write(self, data):
        assert not self.closed
        self.written += data

    def close(self):
        self.closed = True

    def is_closing(self):
        return self.closed

    def pause_reading(self):
        pass

    def resume_reading(self):
        pass


async def echo(scope, receive, send):
    body, more = b"", True
    while more:
        part = await receive()
        if part["type"] == "http.disconnect":
            return
        body, more = body + part["body"], part["more_body"]
    names = ("method", "path", "raw_path", "query_string", "headers", "http_version")
    said = json.dumps([*[scope[name] for name in names], body], default=lambda value: value.decode("latin-1")).encode()
    head = [(b"content-length", b"%d" % len(said))]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": said})


def linked(kind: Any, app: Any) -> tuple[Link, ServerState]:
    """Return a connection to ``app`` and what its server knows."""
    config = uvicorn.Config(
        app, http=kind, ws="none", lifespan="off", log_config=None, h11_max_incomplete_event_size=LONGEST_PART
    )
    config.load()
    state = ServerState()
    return Link(kind(config=config, server_state=state, app_state={})), state


async def exchange(*parts: bytes, kind: Any = HttpProtocol, app: Any = echo) -> tuple[list[tuple[int, Any]], bool]:
    """Return status and body of every answer to what came in ``parts``, and whether the connection was closed."""
    link, state = linked(kind, app)
    for part in parts:
        if not link.closed:
            link.protocol.data_received(part)
            await asyncio.sleep(0)
    await settle()
    assert {link.protocol} == state.connections
    closed = link.closed
    link.protocol.connection_lost(None)
    await settle()
    assert not state.tasks
    return list(_answers(link.written)), closed


async def settle() -> None:
    """Let everything that can go on do so."""
    for _ in range(20):
        await asyncio.sleep(0)


def _answers(text: bytes):
    while text:
        head, _, rest = text.partition(b"\r\n\r\n")
        lengths = [int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:")]
        status, length = int(head[9:12]), lengths[0] if lengths else len(rest)
        yield status, json.loads(rest[:length]) if status == 200 else None
        text = rest[length:]


def statuses(result: tuple[list[tuple[int, Any]], bool]) -> list[int]:
    return [status for status, _ in result[0]]


@pytest.mark.parametrize("name", GOOD)
async def test_what_is_good_is_read_as_h11_reads_it_however_it_is_cut(name: str) -> None:
    data = GOOD[name]
    expected = await exchange(data, kind=H11Protocol)

    assert [200] == statuses(expected)
    assert expected == await exchange(data)
    assert expected[0] == (await exchange(*[bytes([byte]) for byte in data]))[0]
    assert expected[0] == (await exchange(data[:-9], data[-9:]))[0]


@pytest.mark.parametrize("name", BAD)
async def test_what_is_bad_is_refused_and_the_connection_with_it(name: str) -> None:
    data = BAD[name]

    assert ([(400, None)], True) == await exchange(data)
    assert ([(400, None)], True) == await exchange(*[bytes([byte]) for byte in data])
    assert ([(400, None)], True) == ((found := await exchange(GET, data))[0][1:], found[1])


async def test_what_is_taken_is_what_h11_would_take_and_read_the_same() -> None:
    """Mutations of good requests, by a fixed seed."""
    rng, taken = random.Random(5), 0
    odd = [b"\r", b"\n", b"\r\n", b" ", b"\t", b":", b"\0", b"0", b"9", b",", b";", b"chunked", b"Upgrade: x\r\n", b"H"]
    for _ in range(400):
        data = bytearray(rng.choice(list(GOOD.values())))
        for _ in range(rng.randrange(1, 3)):
            at = rng.randrange(len(data))
            data[at : at + rng.randrange(3)] = rng.choice(odd)
        answers, closed = await exchange(bytes(data))
        good = [answer for answer in answers if answer[0] == 200]
        taken += len(good)
        assert closed or 400 not in statuses((answers, closed))
        if good:
            expected, _ = await exchange(bytes(data), kind=H11Protocol)
            assert good[0] == expected[0], bytes(data)

    assert taken > 60


async def test_requests_behind_one_another_are_answered_in_their_order() -> None:
    answers, closed = await exchange(GET + POST + GET, POST, GET[:5], GET[5:])

    assert ["/next", "/a", "/next", "/a", "/next"] == [answer[1] for _, answer in answers]
    assert not closed


async def test_absolute_targets_behind_one_another_are_answered_too() -> None:
    answers, closed = await exchange(GET + GOOD["absolute"] + GOOD["absolute in capitals"], GET)

    assert ["/next", "http://other/x", "HTTP://O:80/A", "/next"] == [answer[1] for _, answer in answers]
    assert not closed


@pytest.mark.parametrize("kind", [HttpProtocol, H11Protocol])
async def test_the_host_of_an_absolute_target_is_the_one_that_counts(kind: Any) -> None:
    async def asked(target: bytes, host: bytes = b"h", version: bytes = b"1.1") -> tuple[int, Any]:
        data = b"GET %s HTTP/%s\r\n%s\r\n" % (target, version, b"Host: %s\r\n" % host if host else b"")
        [(status, said)], _ = await exchange(data, kind=kind, app=Guard(echo, ["ours"]))
        return status, said and (said[1], said[2], said[3], [value for name, value in said[4] if name == "host"])

    ours = (200, ("/a/b c", "/a/b%20c", "d=http://e", ["ours:80"]))
    assert ours == await asked(b"http://ours:80/a/b%20c?d=http://e", b"theirs")
    assert ours == await asked(b"HTTP://ours:80/a/b%20c?d=http://e", b"", b"1.0")
    assert (200, ("/", "/", "d", ["ours"])) == await asked(b"http://ours?d", b"ours")
    assert (421, None) == await asked(b"http://theirs/a", b"ours")
    assert (421, None) == await asked(b"https://ours/a", b"ours")
    assert (400, None) == await asked(b"http://me@ours/a", b"ours")
    assert (400, None) == await asked(b"http:///a", b"ours")


@pytest.mark.parametrize("more", [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", GOOD["a wish to switch"]])
async def test_what_cannot_be_read_behind_a_request_does_not_take_its_answer(more: bytes) -> None:
    answers, closed = await exchange(POST + more)

    assert ([200], True) == (statuses((answers, closed)), closed)


async def test_a_body_behind_a_wish_to_switch_is_no_request() -> None:
    inner = b"DELETE /hidden HTTP/1.1\r\nHost: h\r\n\r\n"
    head = b"POST /a HTTP/1.1\r\nHost: h\r\n" + H2C + b"Content-Length: %d\r\n\r\n" % len(inner)
    answers, _ = await exchange(head, inner)

    assert [("/a", inner.decode())] == [(answer[1], answer[-1]) for _, answer in answers]


async def test_what_is_answered_hears_that_its_sender_went_whatever_stands_behind_it() -> None:
    heard = []

    async def endless(scope, receive, send):
        while heard[-1:] != ["http.disconnect"]:
            heard.append((await receive())["type"])

    link, state = linked(HttpProtocol, endless)
    link.protocol.data_received(GET + GET)
    await settle()
    assert heard == ["http.request"]
    link.protocol.connection_lost(None)
    await settle()

    assert (heard, state.tasks) == (["http.request", "http.disconnect"], set())


async def test_only_so_many_requests_stand_behind_one() -> None:
    answers, closed = await exchange(GET * 60)

    assert ([200] * 17, True) == (statuses((answers, closed)), closed)


async def test_behind_a_body_that_has_two_ends_nothing_is_read() -> None:
    both = CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\n") + b"0\r\n\r\n"

    assert ([(400, None)], True) == await exchange(both + GET, app=Guard(echo, ["h"]))


@pytest.mark.parametrize(
    "endless",
    [
        (b"GET /" + b"a" * 1000, b"a" * 1000),
        (b"GET / HTTP/1.1\r\nX: ", b"a" * 1000),
        (b"GET / HTTP/1.1\r\n", b"X: a\r\n" * 100),
        (b"\r\n", b"\r\n" * 500),
        (CHUNKED + b"1;", b"a" * 1000),
        (CHUNKED + b"0\r\nX: ", b"a" * 1000),
        (CHUNKED + b"0\r\n", b"X: a\r\n" * 100),
    ],
)
async def test_no_part_of_a_request_is_read_for_ever(endless: tuple[bytes, bytes]) -> None:
    first, more = endless
    answers, closed = await exchange(first, *[more] * 80)

    assert closed
    assert 200 not in statuses((answers, closed))
    assert not (await exchange(first, *[more] * 5))[1]


async def test_a_body_of_small_chunks_may_be_as_long_as_any() -> None:
    answers, _ = await exchange(CHUNKED, *[b"1\r\na\r\n" * 1000] * 20, b"0\r\n\r\n")

    assert [20_000] == [len(answer[-1]) for _, answer in answers]
