"""What holds runs of a simulation back: concurrency keys, rates and unique keys, counted as by a Dispatcher."""

import heapq
from collections.abc import Iterable, Mapping
from typing import Any, Final
from uuid import UUID

from scheduler.domain.flow import FlowPlan, PlannedRun
from scheduler.domain.gates import JobEntry
from scheduler.domain.limits import Limit, limit_of, unique_key_of
from scheduler.domain.planned import MICROSECOND
from scheduler.domain.template import render_native
from scheduler.domain.template_errors import TemplateError
from scheduler.simulation.instants import to_instant
from scheduler.simulation.runs import Rank, Runs
from scheduler.simulation.simulated_run import FiredAt, SimulatedRun
from schemas.vocabulary import RunState

_NOBODY: Final = UUID(int=0)
_AT_ONCE_US: Final = 1_500_000
"""Starts of a rate that fell due so long ago may follow at once."""
_HOLDING: Final = frozenset({RunState.QUEUED, RunState.RUNNING})


class PlayedGates:
    """The gates of jobs that share nothing with others. After all that happens somebody calls ``look``."""

    def __init__(self) -> None:
        self._limits: dict[UUID, Limit] = {}
        self._next_at: dict[UUID, int] = {}
        self._made: dict[tuple[UUID, str], tuple[UUID, int]] = {}
        self._events: dict[UUID, Mapping[str, Any]] = {}
        self._held: list[tuple[int, int, SimulatedRun]] = []
        self._wakes: set[int] = set()
        self._order = 0

    def event_of(self, run: SimulatedRun) -> Mapping[str, Any] | None:
        """Return what templates know as ``event``, where one has started the flow of ``run``."""
        return self._events.get(run.id)

    def twin(self, job: JobEntry, at: FiredAt) -> UUID | None:
        """Return the run that a firing would repeat (``unique``)."""
        unique = job.spec.unique
        try:
            key = unique_key_of(job.spec, **_facts(job, _NOBODY, at, _filled(job, _NOBODY, at)))
        except TemplateError:
            return None
        if unique is None or key is None:
            return None
        run_id, made_at = self._made.get((job.id, key), (None, 0))
        return run_id if at.now < made_at + unique.within // MICROSECOND else None

    def planned(self, plan: FlowPlan, at: FiredAt) -> None:
        """Give the runs of a flow that is about to start what depends on its firing."""
        root = plan.runs[0]
        for run in plan.runs:
            if at.event is not None:
                self._events[run.id] = at.event
            try:
                if run is root:
                    filled = _filled(run.job, run.id, at)
                    run.params = None if filled is None else dict(filled)
                facts = _facts(run.job, run.id, at, run.params)
                limit, key = limit_of(run.job.spec, **facts), unique_key_of(run.job.spec, **facts)
            except TemplateError as error:
                _fail(plan, run, str(error))
                continue
            if limit is not None:
                self._limits[run.id] = limit
            if key is not None and run is root:
                self._made[run.job.id, key] = run.id, at.now

    def admits(self, runs: Runs, run: SimulatedRun, now: int) -> bool:
        """Whether a run that is ready may start now; one that may not is begun again when there is room."""
        why = self._why_not(runs, run, now)
        if why is None:
            return True
        run.reason = why
        self._order += 1
        heapq.heappush(self._held, (run.job.spec.priority.rank, self._order, run))
        return False

    def look(self, runs: Runs, now: int) -> None:
        """Begin what may start meanwhile of what was held back."""
        held, self._held = self._held, []
        self._wakes = {at for at in self._wakes if at > now}
        while held:
            run = heapq.heappop(held)[2]
            if run.state is RunState.READY:
                run.reason = None
                runs.begin(run, now)

    def _why_not(self, runs: Runs, run: SimulatedRun, now: int) -> str | None:
        limit, rate = self._limits.get(run.id), run.job.spec.rate
        if limit is not None and limit.most is not None:
            taken = self._taken(limit.key, runs.open.values())
            if taken >= limit.most:
                return f"{limit.key}: {taken} of {limit.most} places are taken"
        if rate is None:
            return None
        due = max(self._next_at.get(run.job.id, 0), now - _AT_ONCE_US)
        if due > now:
            if due not in self._wakes:
                self._wakes.add(due)
                runs.at(due, Rank.WAKE, lambda _: None)  # whoever works off what happens looks afterwards
            return f"{rate}: the next may start at {to_instant(due).isoformat()}"
        self._next_at[run.job.id] = due + rate.every // MICROSECOND
        return None

    def _taken(self, key: str, runs: Iterable[SimulatedRun]) -> int:
        return sum(
            run.state in _HOLDING and (limit := self._limits.get(run.id)) is not None and limit.key == key
            for run in runs
        )


def _filled(job: JobEntry, run_id: UUID, at: FiredAt) -> Mapping[str, Any] | None:
    """Return the params that a firing brings, literal: those of a trigger of the clock are templates until now."""
    if at.params is None or not at.templates:
        return at.params
    fired_at = to_instant(at.fires_at).isoformat()
    scope = {"run": {"id": str(run_id), "job": job.name, "attempt": 1, "fired_at": fired_at}}
    try:
        filled: Mapping[str, Any] = render_native(dict(at.params), scope)
    except TemplateError as error:
        raise TemplateError(f"the trigger's params cannot be filled: {error}") from None
    return filled


def _facts(job: JobEntry, run_id: UUID, at: FiredAt, params: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"job": job.name, "run_id": run_id, "fired_at": to_instant(at.fires_at), "params": params}


def _fail(plan: FlowPlan, run: PlannedRun, reason: str) -> None:
    run.state, run.reason, run.needs_open, run.needs_unbound = RunState.FAILED, reason, 0, 0
    plan.edges = [edge for edge in plan.edges if edge.run_id != run.id]
