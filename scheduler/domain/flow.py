"""A flow: a job that was fired and everything downstream of it, as runs and edges.

Where a job also needs jobs of another root, its run waits for a later flow to bring them. At
most one such run of a job exists; later flows join it instead of making their own, so that each
end of a root counts for one run downstream. A flow also joins a run that hangs on a run it has
already joined.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from scheduler.domain.gates import JobEntry
from scheduler.domain.limits import Limit
from schemas.vocabulary import NeedCondition, RunState, Turn

NO_RUNS: Final[Mapping[UUID, Sequence["WaitingRun"]]] = {}


@dataclass(frozen=True, slots=True)
class WaitingRun:
    """A run of an earlier flow that still waits; ``upstream`` maps needed jobs to runs, None: not brought yet."""

    id: UUID
    job_id: UUID
    upstream: Mapping[UUID, UUID | None]


@dataclass(slots=True)
class PlannedRun:
    id: UUID
    job: JobEntry
    state: RunState
    reason: str | None = None
    needs_open: int = 0
    needs_unbound: int = 0
    has_downstream: bool = False
    """Its end owes a step: runs hang on it, it gives its turn on, or a trigger waits for it."""
    turn: Turn | None = None
    params: dict[str, Any] | None = None
    """What the firing brought, literal; the root's only."""
    lease_token: UUID | None = None
    """Set when the run is offered as it is written."""
    limit: Limit | None = None
    unique_key: str | None = None

    def __post_init__(self) -> None:
        if self.job.spec.overlap.takes_turns:
            self.turn, self.has_downstream = Turn.TAKES, True

    def wait(self, reason: str | None) -> None:
        """Put a run that would be ready into the line of its job."""
        if self.state is RunState.READY:
            self.state, self.turn, self.reason = RunState.WAITING, Turn.AWAITS, reason


@dataclass(frozen=True, slots=True)
class PlannedEdge:
    run_id: UUID
    upstream_job_id: UUID
    upstream_run_id: UUID | None
    condition: NeedCondition
    delay: timedelta


@dataclass(slots=True)
class FlowPlan:
    """What to write for one flow. ``runs[0]`` is the root."""

    runs: list[PlannedRun] = field(default_factory=list)
    edges: list[PlannedEdge] = field(default_factory=list)
    binds: list[tuple[UUID, UUID, UUID]] = field(default_factory=list)
    """(waiting run, needed job, run that this flow brings)"""
    joins: list[UUID] = field(default_factory=list)
    backfill_id: UUID | None = None

    def owe_ends(self, of: frozenset[UUID]) -> None:
        """Have the runs of those jobs owe a step at their ends: somebody waits for them."""
        for run in self.runs:
            run.has_downstream |= run.job.id in of


def plan_flow(
    root: JobEntry,
    downstream: Sequence[JobEntry],
    waiting: Mapping[UUID, Sequence[WaitingRun]],
    ids_by_name: Mapping[str, UUID],
    new_id: Callable[[], UUID],
) -> FlowPlan:
    """Plan the flow of one firing of ``root``.

    ``downstream`` is in topological order; ``waiting`` holds, by job, the runs of earlier flows
    that wait (their jobs are locked); ``ids_by_name`` finds jobs by name.
    """
    plan = FlowPlan([PlannedRun(new_id(), root, RunState.READY)])
    if not downstream:
        return plan
    brought: dict[UUID, UUID] = {root.id: plan.runs[0].id}
    joined: set[UUID] = set()
    for job in downstream:
        run = _joinable(waiting.get(job.id, ()), joined)
        if run is not None:
            joined.add(run.id)
            plan.joins.append(run.id)
            plan.binds += [(run.id, need, brought[need]) for need, bound in run.upstream.items()
                           if bound is None and need in brought]  # fmt: skip
            brought[job.id] = run.id
        else:
            brought[job.id] = _create(plan, job, brought, ids_by_name, new_id())
    used = {edge.upstream_run_id for edge in plan.edges} | {bound for _, _, bound in plan.binds}
    for planned in plan.runs:
        planned.has_downstream |= planned.id in used
    return plan


def _joinable(candidates: Sequence[WaitingRun], joined: set[UUID]) -> WaitingRun | None:
    for run in candidates:
        if any(bound is None or bound in joined for bound in run.upstream.values()):
            return run
    return None


def _create(
    plan: FlowPlan, job: JobEntry, brought: Mapping[UUID, UUID], ids_by_name: Mapping[str, UUID], run_id: UUID
) -> UUID:
    if not job.enabled:
        plan.runs.append(PlannedRun(run_id, job, RunState.SKIPPED, "the job is disabled"))
        return run_id
    edges = [
        PlannedEdge(run_id, need_id, brought.get(need_id), need.when, need.delay)
        for need in job.spec.needs
        if (need_id := ids_by_name.get(need.job)) is not None
    ]
    unbound = sum(edge.upstream_run_id is None for edge in edges)
    plan.runs.append(PlannedRun(run_id, job, RunState.WAITING, needs_open=len(edges), needs_unbound=unbound))
    plan.edges += edges
    return run_id
