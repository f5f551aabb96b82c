"""How far each trigger has been planned, as the row of ``triggers`` says it for the Ticker."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from scheduler.domain.calendar import Calendar
from scheduler.domain.cron import parse_cron
from scheduler.domain.cron_schedule import CronSchedule
from scheduler.domain.firing import CatchUpRules
from scheduler.domain.gates import JobEntry
from scheduler.domain.planned import MICROSECOND, Schedule
from scheduler.domain.schedule import build_schedule
from scheduler.simulation.instants import Instants, to_us
from schemas.job_spec import JobSpec
from schemas.trigger_spec import CronTrigger, EveryTrigger, TimeTriggerSpec
from schemas.vocabulary import RunState


@dataclass(frozen=True, slots=True)
class RunPattern:
    """One run of a flow, its instants counted from the firing, in microseconds."""

    job: str
    state: RunState
    reason: str | None
    started: tuple[int, ...]
    ended: int


@dataclass(frozen=True, slots=True)
class FlowPattern:
    """What a firing of a trigger comes to when nothing else is going on: the same each time."""

    runs: tuple[RunPattern, ...]
    span: int
    """Until everything is quiet again, in microseconds."""


@dataclass(slots=True)
class Cursor:
    """A trigger of a job and how far it is planned."""

    job: JobEntry
    trigger: TimeTriggerSpec
    schedule: Schedule
    rules: CatchUpRules
    instants: Instants
    last_at: datetime
    next_at: int | None = None
    fired: int = 0
    pattern: FlowPattern | None = None
    key: str = field(init=False)

    def __post_init__(self) -> None:
        self.key = self.trigger.key  # a hash, worked out each time it is asked for

    @property
    def remaining(self) -> int | None:
        return None if self.trigger.max_fires is None else self.trigger.max_fires - self.fired

    def move_to(self, last_at: datetime) -> None:
        """Count everything up to ``last_at`` as planned."""
        following = self.schedule.next_after(last_at)
        self.last_at = last_at
        self.next_at = None if following is None else to_us(following.fires_at)


def entries(jobs: Mapping[str, JobSpec]) -> dict[str, JobEntry]:
    """Return the jobs as the Dispatcher knows them."""
    return {
        name: JobEntry(UUID(int=number), name, 1, spec.enabled, paused=False, spec=spec)
        for number, (name, spec) in enumerate(jobs.items(), 1)
    }


def instants_of(trigger: TimeTriggerSpec, schedule: Schedule, hash_key: str) -> Instants:
    """Return the instants of ``schedule``, built from ``trigger``, to be taken in bulk."""
    if isinstance(trigger, CronTrigger) and isinstance(schedule, CronSchedule):  # not within borders
        match = trigger.day_match
        return Instants(schedule, parse_cron(trigger.cron, seconds=trigger.seconds, day_match=match, hash_key=hash_key))
    return Instants(schedule)


def cursors(job: JobEntry, tenant: str, since: datetime, calendars: Mapping[str, Calendar]) -> list[Cursor]:
    """Return the triggers of a job that is applied at ``since``, from then on.

    An instant at ``since`` itself is ahead, except of an interval that is counted from the apply.
    """
    found = []
    for _, trigger in job.spec.time_triggers if job.enabled else ():
        if not trigger.enabled:
            continue
        limits = trigger.catch_up or job.spec.catch_up
        hash_key = f"{tenant}/{job.name}"
        zone = job.spec.timezone_of(trigger)
        schedule = build_schedule(trigger, timezone=zone, hash_key=hash_key, anchor=since, calendars=calendars)
        rules = CatchUpRules(policy=limits.policy, window=limits.window, max_runs=limits.max)
        cursor = Cursor(job, trigger, schedule, rules, instants_of(trigger, schedule, hash_key), since)
        from_apply = isinstance(trigger, EveryTrigger) and trigger.anchor is None
        cursor.move_to(since if from_apply else since - MICROSECOND)
        found.append(cursor)
    return found
