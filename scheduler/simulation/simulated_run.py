"""What a simulation knows of a run, and of the firing that begins it. Instants in microseconds since 1970."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from scheduler.domain.gates import Decision, JobEntry
from schemas.vocabulary import NeedCondition, RunState


@dataclass(slots=True)
class Need:
    """One edge of a waiting run."""

    upstream_run: UUID | None
    condition: NeedCondition
    delay: timedelta
    met: bool | None = None


@dataclass(slots=True)
class SimulatedRun:
    """A run; instants in microseconds since 1970."""

    id: UUID
    name: str
    """The job's, and the how-many-eth run of it."""
    job: JobEntry
    flow: str
    """The name of the flow's first run."""
    fired_at: int
    state: RunState
    reason: str | None = None
    params: Mapping[str, Any] | None = None
    """What the firing brought."""
    result: Any = None
    needs: dict[UUID, Need] = field(default_factory=dict)
    release_at: int | None = None
    started: list[int] = field(default_factory=list)
    """When each attempt began."""
    snoozes: int = 0
    """How many of them asked to be run later."""
    ended_at: int | None = None


@dataclass(frozen=True, slots=True)
class FlowBelow:
    """What follows a job: in topological order, and the ids of all jobs by name."""

    downstream: Sequence[JobEntry]
    ids: Mapping[str, UUID]


@dataclass(frozen=True, slots=True)
class FiredAt:
    """When a firing was planned and when it is decided, in microseconds, and the params it brings."""

    fires_at: int
    now: int
    params: Mapping[str, Any] | None = None
    templates: bool = False
    """The params are a trigger's of the clock, not filled yet."""
    event: Mapping[str, Any] | None = None
    """What templates know as ``event``."""


@dataclass(frozen=True, slots=True)
class Fired:
    """What became of a firing; ``reason`` names the run in the way as people see it."""

    decision: Decision
    reason: str | None
    run: SimulatedRun | None
    blocking: SimulatedRun | None
