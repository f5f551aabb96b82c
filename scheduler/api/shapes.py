"""What answers look like. Names are those that the commands print with ``--json``."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from schemas.vocabulary import RunState


class Shape(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class Job(Shape):
    name: str
    description: str
    version: int
    """Counts the definitions there were."""
    source: str | None
    """What applied it; --prune of that removes it."""
    enabled: bool
    paused: bool
    paused_at: datetime | None
    pause_note: str | None
    paused_by: str | None
    """Who paused it, or the tenant: `cli:USER@HOST`, `key:ID`, `jwt:SUB`, `system:pause_after`."""
    pool: str | None
    needs: list[str]
    next_at: datetime | None
    """The next instant at which one of its triggers fires."""
    trouble: str | None
    """Why it cannot be planned."""
    last_run: UUID | None
    last_state: RunState | None
    last_finished_at: datetime | None
    updated_at: datetime


class Trigger(Shape):
    key: str
    kind: str
    spec: dict[str, Any]
    enabled: bool
    active: bool
    """Whether it is planned: enabled, and neither its job nor its tenant is held."""
    next_at: datetime | None
    fired: int
    trouble: str | None


class JobDetail(Job):
    spec: dict[str, Any]
    """The whole definition, defaults filled in."""
    triggers: list[Trigger]


class Jobs(Shape):
    jobs: list[Job]
    next: str | None


class Changed(Shape):
    name: str
    done: str
    changed: bool
    """False: it was so already."""


class Fired(Shape):
    """A firing that somebody asked for, and what became of it as far as was waited for."""

    firing: UUID
    job: str
    verdict: str | None = None
    run: UUID | None = None
    state: RunState | None = None
    outcome: str | None = None
    reason: str | None = None
    result: Any = None


class Run(Shape):
    id: UUID
    job: str
    job_version: int
    state: RunState
    outcome: str | None
    """How its last attempt ended."""
    reason: str | None
    held_by: str | None
    """Why no executor can take it, where it waits for one."""
    attempt: int
    priority: str
    pool: str
    flow_id: UUID
    firing_id: UUID | None
    fired_at: datetime
    created_at: datetime
    ready_at: datetime | None
    queued_at: datetime | None
    claimed_at: datetime | None
    finished_at: datetime | None
    executor: str | None
    params: dict[str, Any] | None
    result: Any
    retry_of: UUID | None
    retried_by: UUID | None
    cancel_at: datetime | None
    cancel_reason: str | None
    discarded_at: datetime | None
    backfill_id: UUID | None


class Attempt(Shape):
    attempt: int
    outcome: str
    reason: str | None
    exit_code: int | None
    signal: int | None
    http_status: int | None
    exception: str | None
    executor: str | None
    started_at: datetime | None
    finished_at: datetime
    elapsed_s: float | None
    cpu_s: float | None
    cpu_percent: float | None
    peak_memory_bytes: int | None
    read_bytes: int | None
    written_bytes: int | None
    limited_by: str | None
    metrics: dict[str, float] | None
    output_bytes: int


class Need(Shape):
    job: str
    run: UUID | None
    when: str
    state: str


class RunDetail(Run):
    attempts: list[Attempt]
    """Those that have ended."""
    needs: list[Need]
    trace_id: str
    """The trace that its flow was given, else its flow's own."""


class Runs(Shape):
    runs: list[Run]
    next: str | None
    """The cursor of the next page."""


class Output(Shape):
    attempt: int
    outcome: str
    head: str | None
    tail: str | None
    """What came last, where the output was cut."""
    total_bytes: int


class Gate(Shape):
    gate: str
    holds: bool
    reason: str
    runs: list[UUID]


class Why(Shape):
    run: UUID
    job: str
    state: RunState
    held_by: str | None
    """The first gate that holds it."""
    gates: list[Gate]


class Firing(Shape):
    id: UUID
    job: str
    kind: str
    trigger: str | None
    fires_at: datetime
    to_at: datetime | None
    """Of a stretch, the last instant."""
    count: int
    wall_time: str
    zone: str
    verdict: str | None
    reason: str | None
    run_id: UUID | None
    held_until: datetime | None
    planned_at: datetime
    decided_at: datetime | None


class Firings(Shape):
    firings: list[Firing]
    next: str | None


class FlowRun(Shape):
    id: UUID
    job: str
    state: RunState
    outcome: str | None
    reason: str | None
    attempt: int
    created_at: datetime
    finished_at: datetime | None
    needs: list[Need]


class Flow(Shape):
    id: UUID
    """That of its first run."""
    job: str
    firing_id: UUID | None
    started_at: datetime
    runs: list[FlowRun]


class EventTaken(Shape):
    """An event that cannot be lost any more; it is not decided yet."""

    event_id: UUID
    duplicate: bool
    """It came before: the id is that of the first."""
