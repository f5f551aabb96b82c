"""Spans: of what is over, under the ids that every process works out by itself; nothing without being asked for."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from scheduler import tracing
from scheduler.domain.trace import span_id_of, traceparent_of
from scheduler.errors import ConfigurationError
from schemas.vocabulary import Outcome

FLOW, RUN = UUID("018f0000-0000-7000-8000-000000000004"), UUID("018f0000-0000-7000-8000-0000000000f2")
GIVEN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def spans() -> Iterator["Spans"]:
    made = Spans()
    yield made
    made.tracer.close()


class Spans:
    def __init__(self) -> None:
        self._kept = InMemorySpanExporter()
        self.tracer = tracing.Tracer("test", self._kept)

    def of(self, given: str | None, **facts: Any) -> dict[str, ReadableSpan]:
        """Tell of a firing, a claim and an attempt; return the spans by name."""
        self.tracer.firing(FLOW, given, AT, AT + timedelta(seconds=1), **{"scheduler.job": "nightly"})
        self.tracer.attempt(FLOW, RUN, 2, given, tracing.Times(AT + timedelta(seconds=3), 2.0, 4.0), **facts)
        self.tracer.flush()
        return {span.name: span for span in self._kept.get_finished_spans()}


@pytest.mark.parametrize(("given", "trace"), [(None, FLOW.hex), (GIVEN, GIVEN[3:35])])
def test_spans_hang_together_by_ids_alone(spans: Spans, given: str | None, trace: str) -> None:
    made = spans.of(given)

    contexts = {name: span.context for name, span in made.items()}
    assert {f"{context.trace_id:032x}" for context in contexts.values() if context} == {trace}
    ids = {name: f"{context.span_id:016x}" for name, context in contexts.items() if context}
    assert len(set(ids.values())) == 3
    assert ids["attempt"] == traceparent_of(FLOW, RUN, 2, given)[36:52]
    parents = {name: f"{span.parent.span_id:016x}" if span.parent else None for name, span in made.items()}
    firing = span_id_of(FLOW, 0)
    assert parents == {"firing": None if given is None else GIVEN[36:52], "claim": firing, "attempt": firing}
    assert ids["firing"] == firing


def test_spans_last_from_the_instant_to_the_end(spans: Spans) -> None:
    made = spans.of(None)

    begun = int(AT.timestamp()) * 10**9
    seconds = {name: ((s.start_time or 0) - begun, (s.end_time or 0) - begun) for name, s in made.items()}
    assert {name: (start / 1e9, end / 1e9) for name, (start, end) in seconds.items()} == {
        "firing": (0, 1),
        "claim": (1, 3),
        "attempt": (3, 7),
    }
    assert (made["attempt"].attributes or {})["scheduler.attempt"] == 2


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (Outcome.SUCCEEDED, (StatusCode.UNSET, None)),
        (Outcome.SNOOZED, (StatusCode.UNSET, None)),
        (Outcome.CANCELLED, (StatusCode.UNSET, None)),
        (Outcome.TIMED_OUT, (StatusCode.ERROR, "timed_out")),
        (Outcome.FAILED, (StatusCode.ERROR, "failed")),
    ],
)
def test_an_attempt_that_went_wrong_is_an_error_and_its_claim_is_not(
    spans: Spans, outcome: Outcome, said: tuple[StatusCode, str | None]
) -> None:
    made = spans.of(None, **{tracing.OUTCOME: outcome.value})

    status = {name: (span.status.status_code, span.status.description) for name, span in made.items()}
    assert status == {"firing": (StatusCode.UNSET, None), "claim": (StatusCode.UNSET, None), "attempt": said}


def test_a_trace_that_its_caller_does_not_keep_is_not_kept_here(spans: Spans) -> None:
    assert spans.of(f"{GIVEN[:-2]}00") == {}


def test_without_the_extra_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_TRACES_EXPORTER", raising=False)
    for module in ("", ".otlp.proto.http.trace_exporter"):  # also where it was imported before
        monkeypatch.setitem(sys.modules, f"opentelemetry.exporter{module}", None)

    with pytest.raises(ConfigurationError, match=r"actor-scheduler\[otel\]"):
        tracing.start("ticker")
    assert tracing.current() is None


def test_nothing_of_it_is_imported_unless_it_is_asked_for() -> None:
    """FastAPI may import the interface for its own part; what makes spans is the SDK."""
    program = "import scheduler.wiring, scheduler.cli.process, sys; print('opentelemetry.sdk' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"
