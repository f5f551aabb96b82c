"""Which planned instants of the past a backfill runs, and by which definition."""

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from scheduler.domain.gates import JobEntry
from scheduler.domain.planned import MICROSECOND, PlannedInstant, Schedule
from schemas.vocabulary import Verdict

MOST_INSTANTS: Final = 100_000
"""Of one backfill; a longer range is for several."""
NOT_STARTED: Final = frozenset(
    {Verdict.MISFIRED, Verdict.MERGED, Verdict.PAUSED, Verdict.SKIPPED_OVERLAP, Verdict.SUPERSEDED}
)
"""Verdicts of instants that were planned and did not start. What the schedule itself leaves out is none of them."""


class TooManyInstantsError(ValueError):
    """The range holds more than MOST_INSTANTS."""


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """What the ledger says of an instant, or of a stretch up to ``to_at``."""

    firing_id: UUID
    fires_at: datetime
    to_at: datetime | None
    wall_time: str
    verdict: Verdict | None


@dataclass(frozen=True, slots=True)
class Ledger:
    """What is known of the instants of one trigger."""

    rows: Sequence[LedgerRow] = ()
    """Ascending; of those that begin before the range only the last."""
    taken: Collection[tuple[datetime, str]] = field(default_factory=frozenset)
    """Instants (and wall times) that an earlier backfill has run, or is about to."""

    def find(self, at: PlannedInstant) -> LedgerRow | None:
        """Return the row of this very instant, else the stretch it lies in."""
        index = bisect_right(self.rows, at.fires_at, key=lambda row: row.fires_at)
        stretch = None
        while index > 0:
            index -= 1
            row = self.rows[index]
            if row.fires_at == at.fires_at and row.wall_time == at.wall_time:
                return row
            if row.to_at is not None and row.to_at >= at.fires_at:
                stretch = row
            if row.fires_at < at.fires_at:
                break
        return stretch


@dataclass(frozen=True, slots=True)
class Missing:
    """An instant to run. ``row`` is None where no trigger had planned it."""

    at: PlannedInstant
    row: LedgerRow | None


def walk(schedule: Schedule, since: datetime, until: datetime, limit: int = MOST_INSTANTS) -> list[PlannedInstant]:
    """Return the instants of ``schedule`` from ``since`` to ``until``, both included, that really fire.

    Raises:
        TooManyInstantsError: there are more than ``limit``.
    """
    found: list[PlannedInstant] = []
    at = schedule.next_after(since - MICROSECOND)
    while at is not None and at.fires_at <= until:
        if at.skipped is None:
            found.append(at)
            if len(found) > limit:
                raise TooManyInstantsError(
                    f"more than {limit} instants from {since.isoformat()} to {until.isoformat()}"
                )
        at = schedule.next_after(at.fires_at)
    return found


def select(instants: Iterable[PlannedInstant], ledger: Ledger, *, again: bool) -> Iterator[Missing]:
    """Yield the instants that did not start, or with ``again`` all.

    One without a verdict yet is about to be decided, and one that another backfill has in hand is
    about to run: both are left out in any case.
    """
    for at in instants:
        if (at.fires_at, at.wall_time) in ledger.taken:
            continue
        row = ledger.find(at)
        if row is None or row.verdict in NOT_STARTED or (again and row.verdict is Verdict.STARTED):
            yield Missing(at, row)


def version_at(versions: Sequence[tuple[datetime, int]], instant: datetime) -> tuple[int, bool]:
    """Return the version in force at ``instant``, and whether one was; else the oldest.

    ``versions`` are (applied at, number), ascending, at least one.
    """
    index = bisect_right(versions, instant, key=lambda version: version[0])
    return versions[max(0, index - 1)][1], index > 0


@dataclass(frozen=True, slots=True)
class Period:
    """A time, both ends included, with one version of the definition in force."""

    first: datetime
    last: datetime
    version: int
    in_force: bool
    """False: there was none yet; it is the oldest."""


def periods(versions: Sequence[tuple[datetime, int]], since: datetime, until: datetime) -> Iterator[Period]:
    """Cut the time from ``since`` to ``until`` by the version in force; ``versions`` as for ``version_at``, or none."""
    if versions and since < versions[0][0]:
        yield Period(since, min(until, versions[0][0] - MICROSECOND), versions[0][1], in_force=False)
    for index, (applied_at, version) in enumerate(versions):
        over = versions[index + 1][0] - MICROSECOND if index + 1 < len(versions) else until
        first, last = max(since, applied_at), min(until, over)
        if first <= last:
            yield Period(first, last, version, in_force=True)


def whole_downstream(root: str, downstream: Iterable[JobEntry]) -> list[JobEntry]:
    """Return those of ``downstream`` (each after all it needs) that need nothing from outside this flow."""
    brought = {root}
    found = []
    for job in downstream:
        if job.spec.needs and all(need.job in brought for need in job.spec.needs):
            brought.add(job.name)
            found.append(job)
    return found
