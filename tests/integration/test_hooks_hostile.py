"""What strangers send to an endpoint: each is refused, and the next good event still starts its run.

The same for the default of one process, and for processes apart on RabbitMQ.
"""

import contextlib
import json
import socket
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import Cli, end, status, until
from tests.support.hooks import SECRET, sign
from tests.support.raw_http import RawAnswer, exchange, read_answer, request
from tests.support.services import free_port

JOBS = """
version: 1
webhooks:
  orders: {verify: standard-webhooks, secrets: [{env: HOOK_SECRET}]}
jobs:
  sell: {run: {command: ["true"]}, triggers: [{webhook: orders, params: {n: "{{ event.data.n }}"}}]}
"""
BODIES = {
    "unparsable": b'{"n": ',
    "empty": b"",
    "no object": b"[1]",
    "a word": b'"x"',
    "deep": b'{"n":' * 100 + b"1" + b"}" * 100,
    "very deep": b'{"n":' + b"[" * 200_000,
    "a name twice": b'{"n": 1, "n": 2}',
    "nul": b'{"n": "\\u0000"}',
    "half a pair": b'{"n": "\\ud800"}',
    "nan": b'{"n": NaN}',
    "infinity": b'{"n": -Infinity}',
    "beyond": b'{"n": 1e400}',
    "digits": b'{"n": ' + b"9" * 5000 + b"}",
    "not utf-8": b'{"n": "\xff"}',
    "a mark": b'\xef\xbb\xbf{"n": 1}',
}
TYPES = [
    "text/plain",
    "application/x-www-form-urlencoded",
    "",
    "application/json; charset=latin-1",
    "application/jsonp",
]
LARGE = b'{"n": "' + b"a" * (1024 * 1024) + b'"}'


@dataclass
class Place:
    """A running system with one endpoint."""

    port: int
    taken: int = 0
    """Events that were accepted; each starts a run."""

    def send(self, body: bytes, *, name: str = "orders", length: bool = True, **headers: str) -> RawAnswer:
        """Send what is signed, with ``headers`` in place of those that belong to it."""
        given = sign(body, f"msg_{self.taken}") | headers
        answer = exchange(self.port, request(f"/hooks/default/{name}", given, body, length=length))
        self.taken += answer.status == 202
        return answer

    def still_works(self) -> None:
        """Send a good event, and see the run of every one so far."""
        assert 202 == self.send(json.dumps({"n": self.taken}).encode()).status
        until(lambda: self.succeeded() == self.taken, f"the run of good event {self.taken}")

    def succeeded(self) -> int:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/runs?state=succeeded&limit=200") as answer:
            return len(json.load(answer)["runs"])


@contextlib.contextmanager
def one_process(cli: Cli) -> Iterator[Place]:
    port = free_port()
    up = cli.begin("up", "jobs.yaml", "--port", str(port))
    try:
        until(lambda: status(port, "/readyz") == 200, "readiness")
        yield Place(port)
    finally:
        assert end(up) == 0


@contextlib.contextmanager
def apart(cli: Cli) -> Iterator[Place]:
    cli("broker", "declare")
    cli("apply", "jobs.yaml")
    port, probe = free_port(), free_port()
    actors = [cli.begin("start", name) for name in ("dispatcher", "recorder", "executor")]
    actors.append(cli.begin("start", "ingress", "--port", str(port), "--probe-port", str(probe)))
    try:
        until(lambda: status(probe, "/readyz") == 200, "readiness")
        yield Place(port)
    finally:
        assert [0] * 4 == [end(actor) for actor in actors]


@pytest.fixture(params=["up", "apart"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    (tmp_path / "jobs.yaml").write_text(JOBS)
    cli = Cli(tmp_path)
    cli.environment |= {"HOOK_SECRET": SECRET, "SCHEDULER_HTTP__FAILURES_PER_MINUTE": "1000"}
    if request.param == "up":
        with one_process(cli) as opened:
            yield opened
    else:
        cli.environment |= {name: request.getfixturevalue(fixture) for name, fixture in
                            (("DATABASE_URL", "database_url"), ("AMQP_URL", "amqp_url"))}  # fmt: skip
        with apart(cli) as opened:
            yield opened


@pytest.mark.timeout(180)
def test_what_is_no_event_is_refused_with_the_reason_and_the_next_good_one_runs(place: Place) -> None:
    place.still_works()
    for what, body in BODIES.items():
        answer = place.send(body)
        assert (422, "invalid_json") == (answer.status, answer.body["code"]), (what, answer)
        assert (401, "unauthenticated") == _told(place.send(body, **{"webhook-signature": "v1,AAAA"})), what
    place.still_works()
    for kind in TYPES:
        assert 415 == place.send(b"{}", **{"Content-Type": kind}).status, kind
        assert 415 == place.send(b"{}", name="nothing", **{"Content-Type": kind}).status, kind
    assert 415 == place.send(b"{}", **{"Content-Encoding": "gzip"}).status
    for length in (True, False):
        assert 413 == place.send(LARGE, length=length).status
        assert 413 == place.send(LARGE, name="nothing", length=length).status
    assert 202 == place.send(b'{"n": 1}', length=False).status
    place.still_works()


@pytest.mark.timeout(180)
def test_a_slow_sender_and_one_that_goes_hold_up_nobody(place: Place) -> None:
    body = b'{"n": 1}'
    whole = request("/hooks/default/orders", sign(body, "slow"), body)
    with contextlib.ExitStack() as stack:
        links = [stack.enter_context(socket.create_connection(("127.0.0.1", place.port))) for _ in range(20)]
        for link in links:
            link.sendall(whole[:-3])
        exchange(place.port, whole[:-3], close=True)
        place.still_works()
        links[0].sendall(whole[-3:])

        assert 202 == read_answer(links[0]).status


def _told(answer: RawAnswer) -> tuple[int, Any]:
    return answer.status, answer.body["code"]
