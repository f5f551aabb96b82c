"""What an executor says of each attempt: that it started, and that it ended well. The Recorder tells the other ends."""

from collections.abc import Iterable, Sequence
from typing import Final

from actors.executing.running import Run
from scheduler import run_lines, tracing
from scheduler.domain.trace import trace_id_of
from scheduler.ports import Ended
from scheduler.tracing import Times
from schemas.commands import StartAttempt
from schemas.vocabulary import Outcome

_LOGGER: Final = "executor"
_STARTED: Final = ("tenant", "job_id", "run_id", "attempt", "trace_id", "executor", "pool")
_ENDED: Final = (*run_lines.KEYS, "executor", "pool")


def say_started(executor: str, started: Iterable[StartAttempt]) -> None:
    if not run_lines.wanted("attempt.started"):
        return
    rows = [
        (s.tenant, s.order.job, s.run_id, s.attempt, trace_id_of(s.order.flow_id, s.traceparent), executor, s.pool)
        for s in started
    ]
    run_lines.say_plain("attempt.started", _LOGGER, _STARTED, rows)


def say_ended(executor: str, ended: Sequence[tuple[Run, Ended]], now: float) -> None:
    """Write the lines of successes, and make the spans of all; ``now``: the monotonic instant of the ends."""
    if (tracer := tracing.current()) is not None:
        for run, end in ended:
            s, times = run.start, Times(run.started_at, run.began - run.asked_at, now - run.began)
            facts = {"scheduler.tenant": s.tenant, "scheduler.job": s.order.job, tracing.OUTCOME: end.outcome.value}
            tracer.attempt(s.order.flow_id, s.run_id, s.attempt, s.traceparent, times, **facts)
    if not run_lines.wanted("attempt.succeeded"):
        return
    rows = []
    for run, end in ended:
        if end.outcome is Outcome.SUCCEEDED and run.abandoned is None:
            s, elapsed_ms = run.start, round((now - run.began) * 1000, 3)
            trace_id = trace_id_of(s.order.flow_id, s.traceparent)
            rows.append((s.tenant, s.order.job, s.run_id, s.attempt, elapsed_ms, trace_id, executor, s.pool))
    run_lines.say_plain("attempt.succeeded", _LOGGER, _ENDED, rows)
