"""What a simulation gives: rows of the ledger and runs, one by one or as stretches of equal ones."""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from scheduler.domain.firing import PlannedFiring
from scheduler.domain.planned import MICROSECOND
from scheduler.simulation.cursors import Cursor, FlowPattern
from scheduler.simulation.instants import to_instant
from scheduler.simulation.simulated_run import SimulatedRun
from schemas.vocabulary import RunState, Verdict


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """A planned firing and what became of it, as in ``scheduler firings``."""

    fires_at: datetime
    to_at: datetime | None
    count: int
    job: str
    trigger: str
    wall_time: str
    zone: str
    verdict: Verdict
    reason: str | None
    planned_at: datetime
    """When the Ticker found it; later than ``fires_at`` after an outage."""
    run: str | None
    blocking_run: str | None = None


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run, its job's how-many-eth; ``flow`` is the first run of its flow."""

    id: str
    job: str
    flow: str
    fired_at: datetime
    state: RunState
    attempts: int
    started_at: datetime | None
    finished_at: datetime | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Stretch:
    """Firings of one trigger that each went as ``pattern`` says."""

    cursor: Cursor
    pattern: FlowPattern
    times: "array[int]"
    first_numbers: tuple[int, ...]
    """By run of the pattern, the number of the first firing's run."""

    def rows(self) -> Iterator[LedgerRow]:
        root, number = self.pattern.runs[0].job, self.first_numbers[0]
        for index, time in enumerate(self.times):
            fires_at = to_instant(time)
            at = self.cursor.schedule.next_after(fires_at - MICROSECOND)
            wall_time, zone = ("", "") if at is None else (at.wall_time, at.zone)
            run = f"{root}#{number + index}"
            yield LedgerRow(fires_at, None, 1, root, self.cursor.key, wall_time, zone, Verdict.STARTED, None,
                            fires_at, run)  # fmt: skip

    def runs(self) -> Iterator[RunRow]:
        root = self.pattern.runs[0].job
        for index, time in enumerate(self.times):
            flow = f"{root}#{self.first_numbers[0] + index}"
            for run, number in zip(self.pattern.runs, self.first_numbers, strict=True):
                started = to_instant(time + run.started[0]) if run.started else None
                yield RunRow(
                    id=f"{run.job}#{number + index}",
                    job=run.job,
                    flow=flow,
                    fired_at=to_instant(time),
                    state=run.state,
                    attempts=len(run.started),
                    started_at=started,
                    finished_at=to_instant(time + run.ended),
                    reason=run.reason,
                )


@dataclass(slots=True)
class Chapter:
    """What happened in one lane from one moment of quiet to the next."""

    rows: list[LedgerRow] = field(default_factory=list)
    runs: list[SimulatedRun] = field(default_factory=list)


def ledger_row(cursor: Cursor, firing: PlannedFiring, verdict: Verdict, reason: str | None, now: int) -> LedgerRow:
    """Return the row of a firing that starts nothing."""
    return LedgerRow(firing.fires_at, firing.to_at, firing.count, cursor.job.name, cursor.key, firing.wall_time,
                     firing.zone, verdict, reason, to_instant(now), None)  # fmt: skip


def run_row(run: SimulatedRun) -> RunRow:
    return RunRow(
        id=run.name,
        job=run.job.name,
        flow=run.flow,
        fired_at=to_instant(run.fired_at),
        state=run.state,
        attempts=len(run.started),
        started_at=to_instant(run.started[0]) if run.started else None,
        finished_at=None if run.ended_at is None else to_instant(run.ended_at),
        reason=run.reason,
    )
