"""What a simulation takes for granted: the time looked at, outages, how long runs take, which of them fail."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from scheduler.domain.retry import EndFacts
from scheduler.simulation.instants import to_us
from schemas.job_spec import JobSpec
from schemas.vocabulary import Outcome

RUN_TIME: Final = timedelta(minutes=1)
PER_MINUTE: Final = 600
_FAILED: Final = EndFacts(Outcome.FAILED, exit_code=1)
_TIMED_OUT: Final = EndFacts(Outcome.TIMED_OUT)
_SUCCEEDED: Final = EndFacts(Outcome.SUCCEEDED)
ALWAYS: Final = 1_000_000
"""As a number of failing attempts: more than a run can have."""


@dataclass(frozen=True, slots=True)
class Assumptions:
    """Instants are aware. Firings from ``since`` on are looked at, and before ``until``."""

    since: datetime
    until: datetime
    outages: tuple[tuple[datetime, datetime], ...] = ()
    """Begin (included) and end (not included) of times in which nothing of the scheduler runs, in any order."""
    run_time: timedelta = RUN_TIME
    """How long an attempt of a job takes that is not in ``run_times``."""
    run_times: Mapping[str, timedelta] = field(default_factory=dict)
    """By job."""
    failing: Mapping[str, int] = field(default_factory=dict)
    """By job, how many attempts of each run fail before one succeeds; ALWAYS: all."""
    per_minute: int = PER_MINUTE
    """How many missed firings are let go in a minute after an outage."""

    def __post_init__(self) -> None:
        if self.since >= self.until:
            raise ValueError("the end must be later than the beginning")
        for begin, end in self.outages:
            if not self.since <= begin < end < self.until:
                raise ValueError("an outage must begin before it ends, and end before the simulation does")

    def attempt(self, job: str, spec: JobSpec, number: int) -> tuple[timedelta, EndFacts]:
        """Return how long attempt ``number`` of a run of ``job`` takes, and how it ends."""
        takes, over = self.takes(job, spec)
        if number <= self.failing.get(job, 0):
            return takes, _FAILED
        return takes, _TIMED_OUT if over else _SUCCEEDED

    def takes(self, job: str, spec: JobSpec) -> tuple[timedelta, bool]:
        """Return how long an attempt of ``job`` takes, and whether its hard limit ends it."""
        wanted = self.run_times.get(job, self.run_time)
        return min(wanted, spec.timeout.hard), wanted > spec.timeout.hard

    def stretches(self) -> tuple[tuple[int, int], ...]:
        """Return the outages in microseconds, ascending, those that touch made one."""
        merged: list[tuple[int, int]] = []
        for begin, end in sorted((to_us(begin), to_us(end)) for begin, end in self.outages):
            if merged and begin <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((begin, end))
        return tuple(merged)
