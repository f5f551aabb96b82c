"""A run of a TestScheduler, as a test looks at it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from scheduler.domain.run_state import FINAL
from scheduler.simulation.instants import to_instant
from scheduler.simulation.simulated_run import SimulatedRun
from scheduler.voice import Told
from schemas.vocabulary import Outcome, RunState


@dataclass(frozen=True, slots=True)
class PlayedAttempt:
    """One attempt of a run."""

    started_at: datetime
    outcome: Outcome
    params: Mapping[str, Any]
    """What the function was given: the job's params, the trigger's over them, templates filled."""
    error: BaseException | None = None
    """What the function raised; of one that succeeded, why its result was dropped."""
    output: tuple[str, ...] = ()
    """What it wrote with ``ctx.log``."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """What it gave to ``ctx.metric``."""
    progress: Sequence[Told] = ()
    """All that it said with ``ctx.progress``: ``done``, ``total``, ``message``."""


@dataclass(slots=True)
class PlayedRun:
    """A run; what it says changes as time is advanced."""

    _run: SimulatedRun
    attempts: list[PlayedAttempt] = field(default_factory=list)

    @property
    def id(self) -> UUID:
        return self._run.id

    @property
    def job(self) -> str:
        return self._run.job.name

    @property
    def state(self) -> RunState:
        return self._run.state

    @property
    def reason(self) -> str | None:
        """Why it ended otherwise than by success, or what it waits for."""
        return self._run.reason

    @property
    def result(self) -> Any:
        """What its function returned; None while it runs."""
        return self._run.result if self._run.state in FINAL else None

    @property
    def fired_at(self) -> datetime:
        """The planned instant that began its flow."""
        return to_instant(self._run.fired_at)

    @property
    def ended_at(self) -> datetime | None:
        return None if self._run.ended_at is None else to_instant(self._run.ended_at)

    @property
    def error(self) -> BaseException | None:
        """What its last attempt raised."""
        return self.attempts[-1].error if self.attempts else None

    def __repr__(self) -> str:
        why = "" if self.reason is None else f", {self.reason}"
        return f"<run of {self.job}: {self.state}, {len(self.attempts)} attempts{why}>"
