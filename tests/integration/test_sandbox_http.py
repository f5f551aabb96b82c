"""HTTP runs against a real server on loopback; and all the ways to loopback that must not reach it."""

import asyncio
import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from aiohttp import web

from scheduler.ports import StopRequest
from scheduler.sandbox.address_guard import NetworkPolicy
from schemas.vocabulary import Outcome
from schemas.work import HttpWork, TimeLimits
from tests.support.attempts import a_place, an_order

LOOPBACK = NetworkPolicy.from_cidrs(["127.0.0.0/8"])


class Server:
    """Answers by path and keeps what it was asked."""

    def __init__(self) -> None:
        self.seen: list[web.Request] = []
        self.bodies: list[bytes] = []
        self.entered = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request)
        self.bodies.append(await request.read())
        self.entered.set()
        match request.path:
            case "/json":
                return web.json_response({"rows": 3}, headers={"Set-Cookie": "a=b"})
            case "/busy":
                return web.Response(status=503, text="later", headers={"Retry-After": request.query["after"]})
            case "/away":
                raise web.HTTPFound("http://127.0.0.1/json")
            case "/round":
                raise web.HTTPFound("/round")
            case "/near":
                raise web.HTTPFound("/json")
            case "/other":
                raise web.HTTPFound(f"http://127.0.0.2:{request.url.port}/json")
            case "/echo":
                return web.Response(body=self.bodies[-1], content_type="application/json")
            case "/slow":
                await asyncio.sleep(60)
            case "/huge":
                return web.Response(body=b"x" * 3_000_000)
        return web.Response(text="ok")


@pytest.fixture
async def server():
    answering = Server()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answering.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    listening = socket.create_server(("127.0.0.1", 0))
    answering.port = listening.getsockname()[1]
    await web.SockSite(runner, listening).start()
    yield answering
    await runner.cleanup()


@pytest.fixture
async def place(tmp_path):
    async with a_place(tmp_path, network=LOOPBACK) as opened:
        yield opened


def request(server, path="/", method="GET", secrets=None, **fields):
    work = HttpWork(kind="http", method=method, url=f"http://127.0.0.1:{server.port}{path}", **fields)
    return an_order(work, secrets=secrets or {})


async def test_a_request_without_a_body_has_no_type_of_one(place, server):
    await place.run(request(server, "/json", "POST"))
    await place.run(request(server, "/json", "POST", body="text", headers={"Content-Type": "text/csv"}))

    assert ["text/csv"] == [asked.headers["Content-Type"] for asked in server.seen if "Content-Type" in asked.headers]


async def test_an_allowed_network_is_reached_and_json_is_the_result(place, server):
    ended = await place.run(request(server, "/json", "POST", json_body={"run": 1}, headers={"X-Key": "k"}))

    assert (ended.outcome, ended.http_status, ended.result) == (Outcome.SUCCEEDED, 200, {"rows": 3})
    assert ended.output.head == '{"rows": 3}'
    assert (server.bodies, server.seen[0].content_type) == ([b'{"run": 1}'], "application/json")
    assert server.seen[0].headers["X-Key"] == "k"


async def test_no_cookie_is_kept_between_runs(place, server):
    await place.run(request(server, "/json"))
    await place.run(request(server, "/json"))

    assert "Cookie" not in server.seen[1].headers


@pytest.mark.parametrize(
    ("after", "seconds"),
    [
        ("120", 120.0),
        ("soon", None),
        ("-5", None),
        ("99999999999", None),
        ("999999999", 7 * 86_400.0),
        ("in an hour", pytest.approx(3600, abs=60)),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 0.0),
    ],
)
async def test_a_refusal_tells_when_to_come_back(place, server, after, seconds):
    if after == "in an hour":
        after = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    order = an_order(
        HttpWork(
            kind="http", method="GET", url=f"http://127.0.0.1:{server.port}/busy?after={after.replace('+', '%2B')}"
        )
    )

    ended = await place.run(order)

    assert (ended.outcome, ended.http_status, ended.reason) == (Outcome.FAILED, 503, "HTTP status 503")
    assert ended.retry_after_s == seconds


async def test_redirects_are_followed_as_often_as_the_job_allows(place, server):
    once = await place.run(request(server, "/round", redirects=1))
    ended = await place.run(request(server, "/near", redirects=2, headers={"X-Key": "k"}))

    assert (once.outcome, once.http_status) == (Outcome.FAILED, 302)
    assert (ended.outcome, ended.result) == (Outcome.SUCCEEDED, {"rows": 3})
    assert [asked.headers.get("X-Key") for asked in server.seen[2:]] == ["k", "k"]


async def test_a_redirect_to_an_address_that_is_not_allowed_is_refused(tmp_path, server):
    async with a_place(tmp_path, network=NetworkPolicy.from_cidrs(["127.0.0.1/32"])) as place:
        ended = await place.run(request(server, "/other", redirects=3))

    assert (ended.outcome, ended.reason) == (Outcome.FAILED, "refused: the host's address is not allowed for jobs")
    assert len(server.seen) == 1


async def test_a_port_that_is_not_allowed_is_refused(tmp_path, server):
    async with a_place(tmp_path, network=NetworkPolicy.from_cidrs(["127.0.0.0/8"], ["80", "443"])) as place:
        ended = await place.run(request(server))

    assert (ended.outcome, ended.reason) == (Outcome.FAILED, "refused: the host's port is not allowed for jobs")
    assert server.seen == []


async def test_secrets_reach_the_server_and_nothing_that_is_kept(place, server, monkeypatch, tmp_path):
    monkeypatch.setenv("CANARY_A", "canary-one")
    (tmp_path / "two").write_text("canary two\n")
    order = request(
        server,
        "/echo?<m A>",
        "POST",
        headers={"X-Key": "<m TWO>"},
        json_body={"key": "<m A>"},
        secret_mark="m",
        secrets={"A": {"env": "CANARY_A"}, "TWO": {"file": str(tmp_path / "two")}},
    )

    ended = await place.run(order)

    assert ended.result == {"key": "***"}
    assert (server.seen[0].headers["X-Key"], server.bodies) == ("canary two", [b'{"key": "canary-one"}'])
    assert server.seen[0].query_string == "canary-one"
    assert "canary" not in repr(ended)


async def test_a_redirect_is_a_failure_and_not_followed(place, server):
    ended = await place.run(request(server, "/away"))

    assert (ended.outcome, ended.http_status) == (Outcome.FAILED, 302)
    assert len(server.seen) == 1


async def test_a_response_is_cut_at_one_mebibyte(place, server):
    ended = await place.run(request(server, "/huge"))

    assert ended.reason == "HTTP status 200, response cut at 1 MiB"
    assert ended.output.total_bytes == 1024 * 1024


async def test_the_deadline_is_total(place, server):
    order = request(server, "/slow").model_copy(update={"limits": TimeLimits(hard_s=0.2)})

    ended = await place.run(order)

    assert (ended.outcome, ended.http_status) == (Outcome.TIMED_OUT, None)


async def test_a_stop_request_ends_the_request(place, server):
    stop = StopRequest()
    running = asyncio.ensure_future(place.run(request(server, "/slow"), stop))
    await server.entered.wait()
    stop.request("cancelled by ann")

    ended = await running

    assert (ended.outcome, ended.reason) == (Outcome.CANCELLED, "cancelled by ann")


@pytest.mark.parametrize(
    "fields",
    [
        {"headers": {"Host": "x"}},
        {"headers": {"content-length": "3"}},
        {"headers": {"Transfer-Encoding": "chunked"}},
        {"headers": {"X": "a\r\nY: b"}},
        {"headers": {"X Y": "a"}},
        {"method": "CONNECT"},
        {"method": "GET /x HTTP/1.1\r\n"},
        {"body": "a", "json_body": {}},
    ],
)
async def test_a_request_that_could_be_smuggled_is_refused(place, server, fields):
    ended = await place.run(request(server, **fields))

    assert (ended.outcome, ended.http_status) == (Outcome.FAILED, None)
    assert server.seen == []


async def test_a_closed_port_is_a_failure_by_name(place, unused_tcp_port):
    ended = await place.run(an_order(HttpWork(kind="http", url=f"http://127.0.0.1:{unused_tcp_port}/")))

    assert (ended.outcome, ended.exception) == (Outcome.FAILED, "ClientConnectorError")


async def test_a_proxy_of_the_environment_is_not_used(place, server, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")

    assert (await place.run(request(server))).outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/",
        "http://localhost:{port}/",
        "http://2130706433:{port}/",
        "http://0x7f.1:{port}/",
        "http://0x7f000001:{port}/",
        "http://0177.0.0.1:{port}/",
        "http://127.1:{port}/",
        "http://0:{port}/",
        "http://0.0.0.0:{port}/",
        "http://０.0.0.0:{port}/",
        "http://①②⑦.0.0.1:{port}/",
        "http://[::1]:{port}/",
        "http://[::]:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://[::127.0.0.1]:{port}/",
        "http://[64:ff9b::7f00:1]:{port}/",
        "http://evil.com@127.0.0.1:{port}/",
        "http://user:pass@127.0.0.1:{port}/",
        "http://127.0.0.1:{port}#@example.com/",
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "ftp://127.0.0.1:{port}/",
        "//127.0.0.1:{port}/",
        "127.0.0.1:{port}",
        "http://",
        "http://[::1",
    ],
)
async def test_no_spelling_reaches_an_address_that_is_not_allowed(tmp_path, server, url):
    async with a_place(tmp_path) as place:
        ended = await place.run(an_order(HttpWork(kind="http", method="GET", url=url.format(port=server.port))))

    assert (ended.outcome, ended.http_status) == (Outcome.FAILED, None)
    assert ended.reason
    assert server.seen == []
