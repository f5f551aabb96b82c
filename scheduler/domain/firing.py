"""What becomes of planned instants: the one rule for a tick, a restart and a resume.

Every planned instant up to now lands in exactly one row. Rows that start something are one
instant each; uninterrupted stretches of the others are one row with a count, so that a year of
outage is not a million rows. Schedules that can be counted cost the same after any outage; cron is
walked, at most CatchUpRules.limit instants per call.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from scheduler.domain.counted_schedules import ListSchedule
from scheduler.domain.planned import MICROSECOND, CountedSchedule, PlannedInstant, Schedule, is_counted
from schemas.durations import format_duration
from schemas.vocabulary import CatchUpPolicy, Verdict

PUNCTUAL: Final = timedelta(seconds=30)
"""A firing found no later than this was not missed, only found by a busy Ticker: it is never merged."""


@dataclass(frozen=True, slots=True)
class CatchUpRules:
    """How a trigger treats what it missed; ``window`` and ``punctual`` are inclusive."""

    policy: CatchUpPolicy = CatchUpPolicy.LATEST
    window: timedelta = timedelta(days=7)
    """A firing later than this never starts, not even by a busy Ticker."""
    max_runs: int = 100
    """Policy all: how many missed firings start, the newest ones."""
    punctual: timedelta = PUNCTUAL
    limit: int = 1000
    """How many rows one call makes, and how many instants of a cron schedule it walks."""


@dataclass(frozen=True, slots=True)
class PlannedFiring:
    """One row of the ledger to be: an instant that starts something, or a stretch that does not."""

    fires_at: datetime
    wall_time: str
    zone: str
    verdict: Verdict | None
    """None: the Dispatcher decides; it passes its gates or not."""
    reason: str | None
    """For people; None: nothing to say."""
    to_at: datetime | None = None
    """The last instant of a stretch, included; None: one instant."""
    count: int = 1


@dataclass(frozen=True, slots=True)
class Plan:
    rows: tuple[PlannedFiring, ...]
    """Ascending."""
    next_at: datetime | None
    """When to plan again; not later than now if ``more``; None: the trigger is over."""
    planned_until: datetime
    """The last instant that has a row: the next call's ``since``."""
    used: int
    """How many of the rows count against max_fires: those without a verdict yet."""
    more: bool
    """The limit was reached; call again at once."""


def plan(
    schedule: Schedule,
    *,
    since: datetime,
    now: datetime,
    rules: CatchUpRules,
    remaining: int | None = None,
    paused_until: datetime | None = None,
) -> Plan:
    """Sort the planned instants after ``since``, up to and including ``now``.

    latest: the newest starts, if it is within the window, the others are merged into it; all: the
    newest ``max_runs`` within the window start, older ones are merged; none: what is not punctual
    is misfired. Older than the window is misfired under each.

    ``paused_until`` is when the job was resumed; nothing is planned while it is paused, so ``since``
    lies before the pause. Instants up to it are paused, except that with policy latest the newest
    one of all, if it is within the window and no later one starts, is started as the catch-up.

    ``remaining`` fires are left of max_fires (None: no limit); only what starts counts, and with
    the last one the trigger is over. A ``now`` before ``since`` (the clock was set back) plans
    nothing, so that nothing is planned twice.
    """
    if remaining is not None and remaining <= 0:
        return Plan((), None, since, 0, more=False)
    spared = {CatchUpPolicy.LATEST: 1, CatchUpPolicy.ALL: rules.max_runs, CatchUpPolicy.NONE: 0}[rules.policy]
    counted, after_now = _counted(schedule, since, now, rules.limit + spared + 1)
    span = _Span.of(counted, since, now, rules, paused_until)
    starts = range(span.first_start, span.end)
    stop = min(span.end, starts.start + rules.limit)
    if counted is not schedule:  # more may be due than was walked: what follows each row must be known
        stop = min(stop, span.first + rules.limit)
    spent = remaining is not None and stop - starts.start >= remaining
    if remaining is not None and spent:
        stop = starts.start + remaining
    rows = (*span.stretches(min(stop, starts.start)), *span.starts(starts.start, stop))
    more = not spent and stop < span.end
    following = counted.nth(stop) if more else after_now
    return Plan(
        rows=rows,
        next_at=None if spent or following is None else following.fires_at,
        planned_until=(rows[-1].to_at or rows[-1].fires_at) if rows else since,
        used=max(0, stop - starts.start),
        more=more,
    )


def _counted(
    schedule: Schedule, since: datetime, now: datetime, limit: int
) -> tuple[CountedSchedule, PlannedInstant | None]:
    """Return what is due as a counted schedule, and the first instant after it.

    A schedule that cannot be counted is walked, over at most ``limit`` instants.
    """
    if is_counted(schedule):
        return schedule, schedule.next_after(max(since, now))
    due: list[PlannedInstant] = []
    at = schedule.next_after(since)
    while at is not None and at.fires_at <= now and len(due) < limit:
        due.append(at)
        at = schedule.next_after(at.fires_at)
    return ListSchedule(due), at


@dataclass(frozen=True, slots=True)
class _Span:
    """The due instants as indexes of a counted schedule, cut where their fate changes.

    first ≤ paused_end, first ≤ window_start ≤ punctual_start ≤ end; what starts is a tail of them.
    """

    counted: CountedSchedule
    rules: CatchUpRules
    first: int
    paused_end: int
    window_start: int
    end: int
    first_start: int

    @classmethod
    def of(
        cls, counted: CountedSchedule, since: datetime, now: datetime, rules: CatchUpRules, paused: datetime | None
    ) -> "_Span":
        first = counted.index_after(since)
        end = max(first, counted.index_after(now))

        def index(instant: datetime) -> int:
            return min(max(first, counted.index_after(instant)), end)

        paused_end = first if paused is None else index(paused)
        window_start = index(now - rules.window - MICROSECOND)
        punctual = max(paused_end, index(now - min(rules.punctual, rules.window) - MICROSECOND))
        first_start = punctual
        if rules.policy is CatchUpPolicy.ALL:
            first_start = max(paused_end, window_start, punctual - rules.max_runs)
        elif rules.policy is CatchUpPolicy.LATEST and punctual == end and window_start < end:
            first_start = end - 1
        return cls(counted, rules, first, paused_end, window_start, end, first_start)

    def stretches(self, stop: int) -> Iterator[PlannedFiring]:
        """Yield the rows of what does not start, below the index ``stop``."""
        begin = self.first
        missed = Verdict.MISFIRED if self.rules.policy is CatchUpPolicy.NONE else Verdict.MERGED
        for border, verdict, reason in (
            (self.paused_end, Verdict.PAUSED, "the job was paused"),
            (self.window_start if missed is Verdict.MERGED else stop, Verdict.MISFIRED, self._late()),
            (stop, missed, self._merged()),
        ):
            until = min(border, stop)
            if begin < until:
                yield self._row(begin, until, verdict, reason)
                begin = until

    def starts(self, begin: int, stop: int) -> Iterator[PlannedFiring]:
        """Yield the rows of what starts, from the index ``begin`` to below ``stop``."""
        for index in range(begin, stop):
            yield self._row(index, index + 1, None, None)

    def _row(self, begin: int, until: int, verdict: Verdict | None, reason: str | None) -> PlannedFiring:
        first, last = self.counted.nth(begin), self.counted.nth(until - 1)
        if first is None or last is None:
            raise IndexError(f"no planned instant {begin} to {until - 1}")
        to_at = last.fires_at if until - begin > 1 else None
        return PlannedFiring(first.fires_at, first.wall_time, first.zone, verdict, reason, to_at, until - begin)

    def _late(self) -> str:
        if self.rules.policy is CatchUpPolicy.NONE:
            return f"found more than {format_duration(self.rules.punctual)} late; catch_up is none"
        return f"found later than the catch-up window of {format_duration(self.rules.window)}"

    def _merged(self) -> str:
        if self.rules.policy is CatchUpPolicy.ALL:
            return f"more than {self.rules.max_runs} were missed; the latest {self.rules.max_runs} run"
        return "missed; a later firing stands for it"
