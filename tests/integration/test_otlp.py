"""Spans as they leave a process: OTLP over HTTP, in protobuf, to whom the variables OTEL_* name."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from uuid import UUID

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from scheduler import tracing
from scheduler.domain.trace import span_id_of
from schemas.vocabulary import Outcome
from tests.support.services import free_port

FLOW, RUN = UUID("018f0000-0000-7000-8000-000000000004"), UUID("018f0000-0000-7000-8000-0000000000f2")
AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
NS = 1_000_000_000


class Receiver:
    """Takes what is exported to ``port``; ``came`` has path, content type, a header of ours and body of each."""

    def __init__(self) -> None:
        self.came: list[tuple[str, str, str, bytes]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.came.append((self.path, self.headers["Content-Type"], self.headers["X-Who"], body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self._serving = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> Self:
        self._serving.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._serving.join()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as opened:
        yield opened


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment without a word on tracing, and a process that makes no spans yet."""
    for name in ("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(tracing._state, "tracer", None)
    return monkeypatch


def tell() -> tracing.Tracer:
    """Tell of a firing and of an attempt that failed."""
    tracing.start("executor")
    made = tracing.current()
    assert made is not None
    made.firing(FLOW, None, AT, AT + timedelta(seconds=1), **{"scheduler.job": "nightly"})
    times = tracing.Times(AT + timedelta(seconds=3), 2.0, 4.0)
    made.attempt(FLOW, RUN, 2, None, times, **{tracing.OUTCOME: Outcome.FAILED.value})
    return made


def test_spans_arrive_at_a_collector(receiver: Receiver, variables: pytest.MonkeyPatch) -> None:
    variables.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{receiver.port}")
    variables.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-who=us")

    tell().close()

    assert {("/v1/traces", "application/x-protobuf", "us")} == {one[:3] for one in receiver.came}
    found: dict[str, Any] = {}
    for *_, body in receiver.came:
        for part in ExportTraceServiceRequest.FromString(body).resource_spans:
            [service] = [one.value.string_value for one in part.resource.attributes if one.key == "service.name"]
            assert "scheduler-executor" == service
            found |= {span.name: span for scope in part.scope_spans for span in scope.spans}
    assert {"firing", "claim", "attempt"} == found.keys()
    assert {FLOW.hex} == {span.trace_id.hex() for span in found.values()}
    assert span_id_of(FLOW, 0) == found["firing"].span_id.hex() == found["attempt"].parent_span_id.hex()
    assert span_id_of(RUN, 2) == found["attempt"].span_id.hex()
    begun = int(AT.timestamp()) * NS
    attempt = found["attempt"]
    assert (3, 7) == tuple((at - begun) / NS for at in (attempt.start_time_unix_nano, attempt.end_time_unix_nano))
    assert (2, "failed") == (attempt.status.code, attempt.status.message)
    said = {one.key: one.value for one in attempt.attributes}
    assert (str(RUN), 2) == (said["scheduler.run_id"].string_value, said["scheduler.attempt"].int_value)


def test_a_collector_that_is_away_costs_the_process_nothing_but_the_spans(variables: pytest.MonkeyPatch) -> None:
    variables.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    variables.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    begun = time.monotonic()

    tell().close()

    assert time.monotonic() - begun < 10
