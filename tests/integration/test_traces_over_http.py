"""A trace that comes with a request: through events, messages and requests of jobs, to the last run; and as spans."""

import json
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from scheduler.domain.trace import span_id_of
from tests.support.cli import Cli, end, status, until
from tests.support.services import free_port

SPAN = "b7ad6b7169203331"
JOBS = """
version: 1
webhooks: {shop: {verify: none}}
jobs:
  plain: {run: {command: [sh, -c, 'echo "$TRACEPARENT"']}, overlap: allow}
  hooked: {run: {command: [sh, -c, 'echo "$TRACEPARENT"']}, triggers: [{webhook: shop}]}
  hears:
    run: {publish: {exchange: scheduler.events, routing_key: default.told, json: {}}}
    triggers: [{event: {topic: orders}}]
  calls: {run: {http: {url: "http://127.0.0.1:PORT/"}}, triggers: [{event: {topic: told}}]}
  after: {run: {command: [sh, -c, 'echo "$TRACEPARENT"']}, triggers: [{ended: {job: calls, state: succeeded}}]}
"""


def trace(number: int) -> str:
    return f"{number:032x}"


@contextmanager
def sink() -> Iterator[tuple[int, list[str]]]:
    """Answer requests on any port; lend it, and the traces that came."""
    came: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.append(self.headers["traceparent"])
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        serving.start()
        try:
            yield server.server_port, came
        finally:
            server.shutdown()
            serving.join()


def ask(port: int, path: str, body: Any, number: int) -> Any:
    headers = {"Content-Type": "application/json", "traceparent": f"00-{trace(number)}-{SPAN}-01"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def spans_in(text: str) -> list[dict[str, Any]]:
    """Return the spans that the console exporter wrote between the lines of a log."""
    found, at, reader = [], 0, json.JSONDecoder()
    while (at := text.find("{\n", at)) >= 0:
        span, at = reader.raw_decode(text, at)
        found.append(span)
    return found


@pytest.mark.slow
def test_a_trace_that_comes_over_http_goes_through_everything_that_follows(tmp_path: Path, database_url: str) -> None:
    cli, port = Cli(tmp_path), free_port()
    with sink() as (there, came):
        cli.environment |= {
            "DATABASE_URL": database_url,
            "SCHEDULER_ALLOW_NETWORKS": "127.0.0.0/8",
            "SCHEDULER_TRACING": "true",
            "OTEL_TRACES_EXPORTER": "console",
        }
        (tmp_path / "jobs.yaml").write_text(JOBS.replace("PORT", str(there)))
        up = cli.begin("up", "jobs.yaml", "--port", str(port))
        try:
            until(lambda: status(port, "/readyz") == 200, "ready")
            ask(port, "/api/v1/events", {"topic": "orders"}, 1)
            batch = ask(port, "/api/v1/runs:batch", {"runs": [{"job": "plain"}], "wait": "30s"}, 2)
            ask(port, f"/api/v1/runs/{batch['runs'][0]['run']}/retry", {}, 3)
            ask(port, "/api/v1/jobs/plain/run", {}, 4)
            ask(port, "/hooks/default/shop", {"id": 7}, 5)
            wanted = {"plain": 3, "hooked": 1, "hears": 1, "calls": 1, "after": 1}
            over = until(lambda: runs_of(cli, wanted), "all runs")
            written = {run["id"]: cli("run", "logs", run["id"]).split()[-1] for run in over if run["job"] == "plain"}
            [after] = [cli("run", "logs", run["id"]).split()[-1] for run in over if run["job"] == "after"]
        finally:
            assert end(up) == 0

    shown = {(run["job"], run["trace_id"]) for run in (cli.json("run", "show", run["id"]) for run in over)}
    assert shown == {
        *(("plain", trace(number)) for number in (2, 3, 4)),
        ("hooked", trace(5)),
        *((job, trace(1)) for job in ("hears", "calls", "after")),
    }
    assert {text[3:35] for text in written.values()} == {trace(number) for number in (2, 3, 4)}
    [calls] = [run["id"] for run in over if run["job"] == "calls"]
    assert came == [f"00-{trace(1)}-{_span(calls)}-01"], "the request carries the attempt's own span"
    assert after[:35] == f"00-{trace(1)}"
    spans = spans_in((tmp_path / "up-jobs.yaml.log").read_text())
    told = {(span["name"], span["attributes"].get("scheduler.job")) for span in spans if _of(span, 1)}
    assert {("firing", job) for job in ("hears", "calls", "after")} <= told
    below = {span["context"]["span_id"]: span["parent_id"] for span in spans if _of(span, 1)}
    first = next(span for span in spans if _of(span, 1) and span["parent_id"] == f"0x{SPAN}")
    assert (first["name"], first["attributes"]["scheduler.job"]) == ("firing", "hears")
    for ended, job in (("hears", "calls"), ("calls", "after")):
        [run] = [run["id"] for run in over if run["job"] == ended]
        [firing] = [span for span in spans if span["name"] == "firing" and span["attributes"]["scheduler.job"] == job]
        assert firing["parent_id"] == f"0x{_span(run)}", f"{job} hangs below the attempt of {ended}"
        assert firing["parent_id"] in below


def runs_of(cli: Cli, wanted: dict[str, int]) -> list[dict[str, Any]]:
    """Return the runs when there are as many of each job as wanted, all succeeded; else none."""
    found: list[dict[str, Any]] = cli.json("runs", "--state", "succeeded")["runs"]
    counts = {job: sum(run["job"] == job for run in found) for job in wanted}
    return found if counts == wanted else []


def _span(run: str) -> str:
    return span_id_of(UUID(run), 1)


def _of(span: dict[str, Any], number: int) -> bool:
    return bool(span["context"]["trace_id"] == f"0x{trace(number)}")
