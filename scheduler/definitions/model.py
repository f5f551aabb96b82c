"""What loading definitions files gives."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from scheduler.definitions.problems import Problem
from scheduler.domain.calendar import Calendar
from scheduler.domain.calendar_sources import resolve_calendars
from scheduler.domain.dag import Graph
from schemas.calendar_spec import CalendarSpec
from schemas.definitions_file import PoolSpec
from schemas.job_spec import JobSpec
from schemas.webhook_spec import WebhookSpec


@dataclass(frozen=True)
class Definitions:
    """Everything that the files say, valid as a whole. Every JobSpec is resolved."""

    tenant: str
    source: str | None
    """None: applied without a source, which prunes nothing."""
    jobs: dict[str, JobSpec]
    pools: dict[str, PoolSpec]
    files: tuple[Path, ...]
    warnings: tuple[Problem, ...] = ()
    """What is valid and probably not meant."""
    calendars: dict[str, CalendarSpec] = field(default_factory=dict)
    webhooks: dict[str, WebhookSpec] = field(default_factory=dict)

    @cached_property
    def resolved_calendars(self) -> dict[str, Calendar]:
        """Every calendar by name, and by its code every country that a trigger names: for build_schedule."""
        return resolve_calendars(self.calendars, self.jobs.values())

    @cached_property
    def graph(self) -> Graph:
        """The needs between the jobs; free of cycles."""
        return Graph({name: [need.job for need in spec.needs] for name, spec in self.jobs.items()})

    @cached_property
    def starts(self) -> frozenset[str]:
        """The jobs that begin flows by themselves: those with triggers, and those without needs."""
        return frozenset(name for name, spec in self.jobs.items() if spec.triggers or not spec.needs)

    @cached_property
    def roots(self) -> dict[str, tuple[str, ...]]:
        """For each job those whose flows lead to it, itself included if it begins flows."""
        return self.graph.roots(self.starts)
