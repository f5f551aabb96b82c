"""What strangers may send: bodies, addresses, headers, hosts. Each is refused, and nothing falls over."""

import asyncio
import io
import json
import random
from datetime import UTC, datetime
from typing import Any

import pytest

from scheduler.clock import VirtualClock
from tests.support.api import TRUE, Api, serving

RUN = "/api/v1/jobs/a/run"
JSON = {"Content_Type": "application/json"}
HEAD = "POST /api/v1/jobs/a/run HTTP/1.1\r\nHost: localhost\r\n"
BODIES = {
    "nan": b'{"params": {"a": NaN}}',
    "infinity": b'{"params": {"a": 1e400}}',
    "duplicate": b'{"params": {"a": 1, "a": 2}}',
    "nul": b'{"params": {"a": "\\u0000"}}',
    "surrogate": b'{"params": {"a": "\\ud800"}}',
    "utf-8": b'{"params": "\xff"}',
    "deep": b"[" * 200_000,
    "deep enough": b'{"params": ' + b'{"a":' * 100 + b"1" + b"}" * 101,
    "digits": b'{"params": {"a": ' + b"9" * 5000 + b"}}",
    "cut": b'{"params": ',
    "a list": b"[]",
    "a word": b'"x"',
    "unknown key": b'{"parms": {}}',
    "wrong type": b'{"params": 5}',
}


@pytest.mark.parametrize("body", BODIES)
async def test_a_body_that_readers_would_disagree_about_is_refused(database_url: str, body: str) -> None:
    async with serving(database_url) as api:
        await api.apply(a=TRUE)
        answer = await api.ask("POST", RUN, BODIES[body])

        assert (answer.status, answer.headers["Content-Type"]) == (422, "application/problem+json")
        assert await api.db.fetchval("SELECT count(*) FROM firings") == 0


async def test_errors_of_the_framework_are_problems_too(database_url: str) -> None:
    async with serving(database_url) as api:
        await api.apply(a=TRUE)
        found = {
            404: await api.get("/nothing"),
            405: await api.ask("DELETE", "/api/v1/runs"),
            413: await api.ask("POST", RUN, data=io.BytesIO(b" " * (1024 * 1024 + 1)), headers=JSON),
            414: await api.get("/api/v1/runs?job=" + "a" * 8200),
            415: await api.ask("POST", RUN, b"{}", headers={"Content_Type": "text/plain"}),
            422: await api.get("/api/v1/runs?limit=0"),
            421: await api.get("/livez", headers={"Host": "evil.example.com"}),
            431: await api.get("/livez", headers={"X_Long": "a" * 16_000, "X_Longer": "b" * 1000}),
        }

        for status, answer in found.items():
            problem = answer.json
            assert (status, status) == (answer.status, problem["status"]), problem
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert {"type", "title", "code", "detail", "instance"} <= set(problem)
        assert found[422].json["errors"] == [
            {"parameter": "limit", "in": "query", "detail": "Input should be greater than or equal to 1"}
        ]
        verdict = (await api.get("/api/v1/firings?verdict=nonsense")).json["errors"]
        assert {("verdict", "query")} == {(one["parameter"], one["in"]) for one in verdict}
        unknown = await api.get("/api/v1/runs?sate=failed&limit=5&outcome=failed")
        assert (unknown.status, unknown.json["code"]) == (422, "invalid")
        allowed = "there is no such parameter, there are: cursor, job, limit, since, state"
        assert unknown.json["errors"] == [
            {"parameter": name, "in": "query", "detail": allowed} for name in ("outcome", "sate")
        ]
        assert found[405].headers["Allow"] == "GET"
        assert (await api.post("/api/v1/jobs/a")).headers["Allow"] == "DELETE, GET, PATCH, PUT"


async def test_a_body_without_a_length_is_measured_while_it_comes(database_url: str) -> None:
    async def endless() -> Any:
        for _ in range(20):
            yield b" " * 65_536

    async with serving(database_url) as api:
        await api.apply(a=TRUE)
        headers = {"Content-Type": "application/json"}
        async with api.session.post(api.url(RUN), data=endless(), headers=headers) as answer:
            assert answer.status == 413


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (HEAD + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (HEAD + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n", 400),
        ("GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400),
        ("GET /livez HTTP/1.1\r\n\r\n", 400),
        ("GET /api/v1/runs?job=%00 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        ("GET /api/v1/jobs/%ff%fe HTTP/1.1\r\nHost: localhost\r\n\r\n", 422),
        ("GET http://169.254.169.254/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 421),
        ("GET http://localhost/api/v1/jobs/a HTTP/1.1\r\nHost: evil.example\r\n\r\n", 200),
        (HEAD + "Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", 415),
        (HEAD + "Origin: http://evil.example\r\nContent-Length: 0\r\n\r\n", 403),
        (HEAD + "Origin: http://[\r\nContent-Length: 0\r\n\r\n", 403),
        (HEAD + "Origin: http://localhost\r\nOrigin: http://evil.example\r\nContent-Length: 0\r\n\r\n", 403),
        ("GET /livez HTTP/1.1\r\nHost: [\r\n\r\n", 421),
        (HEAD + "Sec-Fetch-Site: cross-site\r\nContent-Length: 0\r\n\r\n", 403),
        ("nonsense\r\n\r\n", 400),
        ("GET /livez HTTP/1.1\r\nHost: localhost\r\nX: " + "a" * 70_000 + "\r\n\r\n", 431),
    ],
)  # fmt: skip
async def test_a_request_that_is_none_is_refused(database_url: str, request_head: str, status: int) -> None:
    async with serving(database_url) as api:
        await api.apply(a=TRUE)

        assert await _raw(api, request_head.encode("latin-1")) == status
        assert (await api.get("/livez")).status == 200


async def test_a_page_of_another_site_is_never_told_that_it_may_read(database_url: str) -> None:
    origin = {"Origin": "https://evil.example.com"}
    async with serving(database_url) as api:
        answers = [
            await api.get("/api/v1/jobs", headers=origin),
            await api.get("/livez", headers=origin),
            await api.ask("OPTIONS", RUN, headers=origin | {"Access_Control_Request_Method": "POST"}),
            await api.ask("OPTIONS", "/hooks/default/shop", headers=origin | {"Access_Control_Request_Method": "POST"}),
            await api.post(RUN, headers=origin),
        ]

    assert [200, 200, 405, 405, 403] == [answer.status for answer in answers]
    assert not [name for answer in answers for name in answer.headers if name.lower().startswith("access-control-")]


async def test_no_cursor_but_its_own_opens_a_list(database_url: str) -> None:
    async with serving(database_url, http={"auth": "keys"}) as api:
        await api.apply(a=TRUE)
        key = await api.key("admin")
        for _ in range(3):
            await api.post(RUN, key=key)
        first = (await api.get("/api/v1/firings?limit=2", key=key)).json
        second = await api.get(f"/api/v1/firings?limit=2&cursor={first['next']}", key=key)
        altered = first["next"][:-2] + ("AA" if first["next"][-2:] != "AA" else "BB")
        refused = [
            await api.get(f"/api/v1/firings?limit=2&cursor={altered}", key=key),
            await api.get(f"/api/v1/firings?limit=2&verdict=started&cursor={first['next']}", key=key),
            await api.get(f"/api/v1/runs?limit=2&cursor={first['next']}", key=key),
            await api.get(f"/api/v1/firings?cursor={first['next']}", key=await api.key("admin", tenant="other")),
            await api.get("/api/v1/firings?cursor=%21", key=key),
        ]

        ids = [row["id"] for row in first["firings"] + second.json["firings"]]
        assert (len(set(ids)), second.json["next"]) == (3, None)
        assert ids == sorted(ids, reverse=True)
        assert [400] * 5 == [answer.status for answer in refused]


async def test_a_caller_in_a_hurry_is_told_when_to_come_back(database_url: str) -> None:
    async with serving(database_url, http={"per_second": 1, "failures_per_minute": 2}) as api:
        api.site.clock = VirtualClock(datetime.now(UTC))  # it stands still: nobody gets more to ask meanwhile
        hurried = [(await api.get("/api/v1/jobs")).status for _ in range(6)]
        guesses = [await api.get("/api/v1/jobs", key="wrong") for _ in range(4)]

        assert hurried[:4] == [200] * 4
        assert 429 in hurried
        assert [401, 401, 429, 429] == [answer.status for answer in guesses]
        assert int(guesses[-1].headers["Retry-After"]) >= 1


async def test_behind_a_proxy_of_ours_each_client_has_a_count_of_its_own(database_url: str) -> None:
    http = {"failures_per_minute": 1, "trusted_proxies": "127.0.0.0/8"}
    async with serving(database_url, http=http) as api:
        statuses = [
            (await api.get("/api/v1/jobs", key="wrong", headers={"X_Forwarded_For": client})).status
            for client in ("8.8.8.8", "8.8.8.8", "9.9.9.9", "1.1.1.1, 8.8.8.8")
        ]

        assert statuses == [401, 429, 401, 429]


async def test_who_has_a_network_of_addresses_guesses_no_more_often(database_url: str) -> None:
    http = {"failures_per_minute": 1, "trusted_proxies": "127.0.0.0/8"}
    async with serving(database_url, http=http) as api:
        statuses = [
            (await api.get("/api/v1/jobs", key="wrong", headers={"X_Forwarded_For": client})).status
            for client in ("2001:db8::1", "2001:db8::2:3", "2001:db8:0:1::1", "::ffff:8.8.8.8", "8.8.8.8")
        ]

        assert statuses == [401, 429, 401, 401, 429]


async def test_thousands_of_broken_bodies_never_make_a_fault(database_url: str) -> None:
    """Mutations of a good body, by a fixed seed; an answer is always one of ours."""
    good = json.dumps({"run": {"command": ["true"]}, "triggers": [{"cron": "0 2 * * *"}], "timeout": "5m"}).encode()
    rng = random.Random(11)
    async with serving(database_url, http={"per_second": 100_000}) as api:
        statuses: dict[int, int] = {}
        for _ in range(300):
            body = bytearray(good)
            for _ in range(rng.randrange(1, 3)):
                at = rng.randrange(len(body))
                match rng.randrange(3):
                    case 0:
                        body[at] = rng.randrange(256)
                    case 1:
                        del body[at]
                    case _:
                        body[at:at] = body[rng.randrange(len(body)) :][: rng.randrange(20)]
            answer = await api.ask("PUT", "/api/v1/jobs/a", bytes(body))
            statuses[answer.status] = statuses.get(answer.status, 0) + 1

        assert set(statuses) <= {200, 201, 409, 422}, statuses
        assert statuses[422] > 100


async def _raw(api: Api, data: bytes) -> int:
    reading, writing = await asyncio.open_connection("127.0.0.1", api.ingress.port)
    try:
        writing.write(data)
        await writing.drain()
        async with asyncio.timeout(10):
            return int((await reading.readline()).split()[1])
    finally:
        writing.close()
