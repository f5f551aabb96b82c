"""What a client is told: plain values, as they stood when it asked."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from scheduler.store.reading import Row


@dataclass(frozen=True, slots=True)
class _Answer:
    @classmethod
    def of(cls, row: Row) -> Self:
        """Take from a row of the store what this answer has."""
        return cls(**{field.name: row[field.name] for field in fields(cls) if field.name in row})


@dataclass(frozen=True, slots=True, kw_only=True)
class Fired(_Answer):
    """A firing that was asked for, and what became of it."""

    firing_id: UUID
    job: str
    verdict: str | None = None
    """None: not decided yet. Without ``started`` there is no run, and ``reason`` says why."""
    run_id: UUID | None = None
    state: str | None = None
    """Of the run."""
    outcome: str | None = None
    reason: str | None = None
    result: Any = None
    """What the run handed back; None until it has succeeded."""
    over: bool = False
    """Whether nothing more comes of it."""

    @property
    def succeeded(self) -> bool:
        return self.state == "succeeded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(_Answer):
    """A run, as in ``scheduler runs``."""

    id: UUID
    job: str
    job_version: int
    state: str
    outcome: str | None
    reason: str | None
    attempt: int
    params: Mapping[str, Any] | None
    """What the firing brought, over the job's own."""
    result: Any
    fired_at: datetime | None
    created_at: datetime
    claimed_at: datetime | None
    finished_at: datetime | None
    executor: str | None
    flow_id: UUID
    firing_id: UUID | None
    retry_of: UUID | None
    retried_by: UUID | None
    held_by: str | None = None
    """Why no executor can take it."""
    attempts: tuple["Attempt", ...] = ()
    """Those that have ended; only of ``Client.run``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt(_Answer):
    """An ended attempt of a run."""

    attempt: int
    outcome: str
    reason: str | None
    exit_code: int | None
    exception: str | None
    executor: str | None
    started_at: datetime | None
    finished_at: datetime | None
    elapsed_s: float | None
    metrics: Mapping[str, float] | None
    """Numbers that its code gave with ``ctx.metric``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Log(_Answer):
    """What an ended attempt wrote: all of it in ``head``, or beginning and end of more than 64 KiB."""

    attempt: int
    outcome: str
    head: str | None
    tail: str | None
    total_bytes: int | None
