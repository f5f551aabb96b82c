"""Spans of firings, claims and attempts by OpenTelemetry, where they are asked for; nothing is imported otherwise.

The ids are those of :mod:`scheduler.domain.trace`: what a job does under its ``TRACEPARENT`` hangs below the span of
its attempt, and spans of several processes fit together without a word between them. A span is made when it is over.
"""

import os
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from scheduler.domain.trace import span_id_of, trace_id_of
from scheduler.errors import ConfigurationError
from schemas.vocabulary import Outcome

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Status

_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_SAMPLED: Final = 1
_CLAIM: Final = 1 << 63
"""What tells the span of a claim from that of its attempt."""
OUTCOME: Final = "scheduler.outcome"
_WENT_WRONG: Final = frozenset({Outcome.FAILED, Outcome.TIMED_OUT, Outcome.OUT_OF_LIMITS, Outcome.LOST})


class Tracer:
    """Makes spans of what is over; ``exporter`` sends them, in the background."""

    def __init__(self, actor: str, exporter: "SpanExporter") -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.id_generator import IdGenerator

        class Given(IdGenerator):
            """Says the ids that it was told."""

            trace_id = span_id = 1

            def generate_trace_id(self) -> int:
                return self.trace_id

            def generate_span_id(self) -> int:
                return self.span_id

        self._ids = Given()
        resource = Resource.create({"service.name": f"scheduler-{actor}"})
        self._provider = TracerProvider(id_generator=self._ids, resource=resource, shutdown_on_exit=True)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("scheduler")

    def firing(self, flow_id: UUID, given: str | None, fires_at: datetime, now: datetime, **facts: Any) -> None:
        """Tell of a firing, from its instant until its verdict; below who asked for it."""
        parent = None if given is None else (given[36:52], int(given[-2:], 16))
        self._say("firing", (trace_id_of(flow_id, given), span_id_of(flow_id, 0)), parent, (fires_at, now), facts)

    def attempt(
        self, flow_id: UUID, run_id: UUID, number: int, given: str | None, times: "Times", **facts: Any
    ) -> None:
        """Tell of an attempt and of its claim before it; below the firing of the flow. ``facts`` may have OUTCOME."""
        trace_id, span_id = trace_id_of(flow_id, given), span_id_of(run_id, number)
        flags = _SAMPLED if given is None else int(given[-2:], 16)
        parent = span_id_of(flow_id, 0), flags
        claim_id = f"{int(span_id, 16) ^ _CLAIM:016x}"
        facts = {"scheduler.run_id": str(run_id), "scheduler.attempt": number, **facts}
        of_claim = {name: value for name, value in facts.items() if name != OUTCOME}
        self._say("claim", (trace_id, claim_id), parent, (times.asked_at, times.started_at), of_claim)
        self._say("attempt", (trace_id, span_id), parent, (times.started_at, times.ended_at), facts)

    def flush(self) -> None:
        """Send what is not sent yet. Blocks."""
        self._provider.force_flush()

    def close(self) -> None:
        """Send what is not sent yet, and end the background. Blocks."""
        self._provider.shutdown()

    def _say(
        self,
        name: str,
        ids: tuple[str, str],
        parent: tuple[str, int] | None,
        times: tuple[datetime, datetime],
        facts: Mapping[str, Any],
    ) -> None:
        self._ids.trace_id, self._ids.span_id = (int(text, 16) for text in ids)
        span = self._tracer.start_span(
            name, context=_below(ids[0], parent), start_time=_ns(times[0]), attributes={**facts}
        )
        if (outcome := facts.get(OUTCOME)) in _WENT_WRONG:
            span.set_status(_error(outcome))
        span.end(end_time=_ns(times[1]))


class Times:
    """When an attempt was asked for, began and ended."""

    __slots__ = ("asked_at", "ended_at", "started_at")

    def __init__(self, started_at: datetime, claim_s: float, elapsed_s: float) -> None:
        self.started_at = started_at
        self.asked_at = started_at - timedelta(seconds=claim_s)
        self.ended_at = started_at + timedelta(seconds=elapsed_s)


def _error(outcome: str) -> "Status":
    from opentelemetry.trace import Status, StatusCode

    return Status(StatusCode.ERROR, str(outcome))


def _below(trace_id: str, parent: tuple[str, int] | None) -> "Context":
    from opentelemetry.context import Context
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

    if parent is None:
        return Context()
    span = SpanContext(int(trace_id, 16), int(parent[0], 16), is_remote=True, trace_flags=TraceFlags(parent[1]))
    return set_span_in_context(NonRecordingSpan(span), Context())


def _ns(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1) * 1000


class _State:
    tracer: Tracer | None = None


_state: Final = _State()


def current() -> Tracer | None:
    """Return who makes spans in this process; None: nobody does."""
    return _state.tracer


def start(actor: str) -> None:
    """Make spans from now on, and send them where the variables ``OTEL_*`` say: by OTLP over HTTP, or to the console.

    Raises:
        ConfigurationError: the extra ``otel`` is not installed.
    """
    try:
        _state.tracer = Tracer(actor, _exporter())
    except ImportError as error:
        raise ConfigurationError(f"tracing needs actor-scheduler[otel]: {error.name} is not installed") from None


def _exporter() -> "SpanExporter":
    if os.environ.get("OTEL_TRACES_EXPORTER") == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    exporter: SpanExporter = OTLPSpanExporter()
    return exporter
