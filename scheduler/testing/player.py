"""Makes the attempts of a TestScheduler: gives a function its params and its context, and tells how it ended."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from scheduler.domain.retry import EndFacts
from scheduler.domain.template_errors import TemplateError
from scheduler.domain.work_order import RunFacts, make_order
from scheduler.sandbox.failure import bases_of
from scheduler.sandbox.handlers import HandlerContext, SnoozedError
from scheduler.sandbox.results import UnusableResultError, result_of
from scheduler.simulation.instants import to_instant
from scheduler.simulation.simulated_run import SimulatedRun
from scheduler.testing.calls import call
from scheduler.testing.played_run import PlayedAttempt, PlayedRun
from scheduler.voice import Told
from schemas.durations import parse_duration
from schemas.vocabulary import Outcome
from schemas.work import WorkOrder

Span = str | timedelta


def span_of(span: Span) -> timedelta:
    """Return the duration that is meant.

    Raises:
        ValueError: it is none.
    """
    return parse_duration(span) if isinstance(span, str) else span


class Player:
    """The executor of a TestScheduler. ``functions`` are by job."""

    def __init__(
        self,
        tenant: str,
        functions: Mapping[str, Callable[..., Any]],
        takes: Mapping[str, timedelta],
        secrets: Mapping[str, str],
        event_of: Callable[[SimulatedRun], Mapping[str, Any] | None],
    ) -> None:
        self._tenant = tenant
        self._functions = functions
        self._takes = takes
        self._secrets = secrets
        self._event_of = event_of
        self._flows: dict[str, UUID] = {}
        self._played: dict[UUID, PlayedRun] = {}

    def played(self, run: SimulatedRun) -> PlayedRun:
        """Return what a test sees of a run, each time the same object."""
        return self._played.setdefault(run.id, PlayedRun(run))

    def attempt(self, run: SimulatedRun, now: int) -> tuple[timedelta, EndFacts]:
        """Make an attempt that begins now; returns how long it takes and how it ends."""
        takes, hard = self._takes.get(run.job.name, timedelta()), run.job.spec.timeout.hard
        try:
            order = self._order(run)
        except TemplateError as error:
            self._keep(run, now, Outcome.FAILED, error=error)
            return timedelta(), EndFacts(Outcome.FAILED)
        if takes > hard:
            self._keep(run, now, Outcome.TIMED_OUT, params=order.params)
            return hard, EndFacts(Outcome.TIMED_OUT)
        function, said = self._functions.get(run.job.name), list[str]()
        progress: list[Told] = []
        context = replace(self._context(run, order, said), tell=progress.append)

        def told() -> dict[str, Any]:
            return {"output": tuple(said), "metrics": context.metrics or {}, "progress": tuple(progress)}

        try:
            value = None if function is None else call(function, order.params, context)
        except SnoozedError as error:
            self._keep(run, now, Outcome.SNOOZED, params=order.params, **told())
            return takes, EndFacts(Outcome.SNOOZED, retry_after_s=error.seconds)
        except Exception as error:  # noqa: BLE001 - whatever a job raises is how its attempt ends
            self._keep(run, now, Outcome.FAILED, params=order.params, error=error, **told())
            raised = type(error).__name__
            return takes, EndFacts(Outcome.FAILED, exception=raised, exception_bases=bases_of(error))
        dropped = None
        try:
            run.result = result_of(value)
        except UnusableResultError as error:
            dropped = error
        self._keep(run, now, Outcome.SUCCEEDED, params=order.params, error=dropped, **told())
        return takes, EndFacts(Outcome.SUCCEEDED)

    def _keep(self, run: SimulatedRun, now: int, outcome: Outcome, **facts: Any) -> None:
        attempt = PlayedAttempt(to_instant(now), outcome, **({"params": {}} | facts))
        self.played(run).attempts.append(attempt)

    def _order(self, run: SimulatedRun) -> WorkOrder:
        upstream = [self._played[need.upstream_run] for need in run.needs.values() if need.upstream_run in self._played]
        results = {before.job: before.result for before in upstream if before.result is not None}
        flow_id = self._flows.setdefault(run.flow, run.id)
        job, attempt = run.job, len(run.started)
        facts = RunFacts(run.id, job.name, job.version, flow_id, to_instant(run.fired_at), attempt, run.params)
        return make_order(job.spec, facts, results, self._event_of(run))

    def _context(self, run: SimulatedRun, order: WorkOrder, said: list[str]) -> HandlerContext:
        wanted = run.job.spec.secrets
        return HandlerContext(
            tenant=self._tenant,
            job=run.job.name,
            run_id=run.id,
            attempt=len(run.started),
            fence=UUID(int=run.id.int + (len(run.started) << 64)),
            flow_id=order.flow_id,
            fired_at=order.fired_at,
            results=order.results,
            write=said.append,
            secrets={name: value for name, value in self._secrets.items() if name in wanted},
        )
