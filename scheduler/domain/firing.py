"""What becomes of planned instants: the one rule for a tick, a restart and a resume.

Every planned instant up to now lands in exactly one row. Rows that start something are one
instant each; uninterrupted stretches of the others are one row with a count, so that a year of
outage is not a million rows. What the schedule itself leaves out (a gap in the wall time, a closed
day) is a row of its own with that verdict wherever it falls, also in a pause or beyond the window:
the day would have been closed all the same. Such a row cuts a stretch in two.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from scheduler.domain.due import DueInstants
from scheduler.domain.planned import MICROSECOND, CountedSchedule, PlannedInstant, Schedule, is_counted
from schemas.durations import format_duration
from schemas.vocabulary import CatchUpPolicy, Verdict

PUNCTUAL: Final = timedelta(seconds=30)
"""A firing found no later than this was not missed, only found by a busy Ticker; it is merged only with what was."""
SUSPENDED: Final = "the tenant was suspended"
_SECOND: Final = timedelta(seconds=1)
_ON_TIME: Final = _SECOND
"""Found no later than this, a firing starts however short its window is: no Ticker is never busy."""
_MISSED: Final = frozenset({None, Verdict.MERGED, Verdict.MISFIRED})
"""What a late row says where nothing but lateness was in the way."""
_LEFT_OUT: Final = {
    Verdict.DST_GAP: "the clocks are set forward over this wall time; dst says gap: skip",
    Verdict.SKIPPED_CALENDAR: "the calendar is closed on this day; roll is none",
}


@dataclass(frozen=True, slots=True)
class CatchUpRules:
    """How a trigger treats what it missed; ``window`` and ``punctual`` are inclusive."""

    policy: CatchUpPolicy = CatchUpPolicy.LATEST
    window: timedelta = timedelta(days=7)
    """A firing later than this, and than a second, never starts, not even by a busy Ticker."""
    max_runs: int = 100
    """Policy all: how many missed firings start, the newest ones."""
    punctual: timedelta = PUNCTUAL
    limit: int = 1000
    """How many firings one call starts, and about how many instants it walks of what cannot be counted."""
    lead: timedelta = timedelta(0)
    """How far beyond now a call plans; how late a firing is, is judged by now."""

    def deadline(self, fires_at: datetime) -> datetime:
        """Return until when a firing may get its verdict; later than this it is misfired."""
        window = timedelta(0) if self.policy is CatchUpPolicy.NONE else self.window
        return fires_at + max(window, self.punctual)


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
    """Instants of the stretch; for one that the schedule leaves out, the wall times it stands for."""


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

    def suspended(self) -> "Plan":
        """Return the plan with what fell into a pause accounted to the suspension of the tenant."""
        rows = tuple(
            replace(row, verdict=Verdict.TENANT_SUSPENDED, reason=SUSPENDED) if row.verdict is Verdict.PAUSED else row
            for row in self.rows
        )
        return replace(self, rows=rows)

    def paced(self, now: datetime, rules: CatchUpRules) -> list[bool]:
        """Return of each row whether pacing holds it: what was missed, and what is found with it but the newest."""
        if not self.rows or now - self.rows[0].fires_at <= rules.punctual:
            return [False] * len(self.rows)
        late = [now - row.fires_at > rules.punctual for row in self.rows]
        missed = any(was and row.verdict in _MISSED for was, row in zip(late, self.rows, strict=True))
        newest = max((index for index, row in enumerate(self.rows) if row.verdict is None), default=None)
        return [
            row.verdict is None and (was or (missed and index != newest))
            for index, (was, row) in enumerate(zip(late, self.rows, strict=True))
        ]


def plan(
    schedule: Schedule,
    *,
    since: datetime,
    now: datetime,
    rules: CatchUpRules,
    remaining: int | None = None,
    paused_until: datetime | None = None,
) -> Plan:
    """Sort the planned instants after ``since``, up to and including ``now`` and the lead of ``rules``.

    latest: the newest starts, if it is within the window, the others are merged into it, also
    punctual ones if any was missed, or an outage would end in a burst; all: the newest ``max_runs``
    within the window start, older ones are merged; none: what is not punctual is misfired. Older
    than the window is misfired under each. What the schedule leaves out is never the newest, starts
    nothing, and is not counted by ``max_runs`` or ``remaining``.

    ``paused_until`` is when the job was resumed; nothing is planned while it is paused, so ``since``
    lies before the pause. Instants up to it are paused, except that with policy latest the newest
    one of all, if it is within the window and no later one starts, is started as the catch-up.

    ``remaining`` fires are left of max_fires (None: no limit); only what starts counts, and with
    the last one the trigger is over. A ``now`` before ``since`` (the clock was set back) plans
    nothing, so that nothing is planned twice.
    """
    if remaining is not None and remaining <= 0:
        return Plan((), None, since, 0, more=False)
    punctual = (rules.punctual + rules.lead) // _SECOND + 1  # so many at most: what is not counted fires once a second
    spared = {CatchUpPolicy.LATEST: 1 + punctual, CatchUpPolicy.ALL: rules.max_runs, CatchUpPolicy.NONE: 0}
    ahead = spared[rules.policy] + 1
    horizon = now + rules.lead
    due: CountedSchedule | DueInstants
    due = schedule if is_counted(schedule) else DueInstants(schedule, since, horizon, rules.limit + ahead)
    cut = isinstance(due, DueInstants) and due.cut
    span = _Span.of(due, since, now, rules, paused_until)
    start = span.first_start
    stop = span.ahead(start, rules.limit)
    if cut:  # what follows each row must be known: it may be the newest, and the next call is to see what was missed
        stop = min(stop, span.back(span.end, ahead))
    spent = remaining is not None and span.firings(start, stop) >= remaining
    if remaining is not None and spent:
        stop = span.ahead(start, remaining)
    rows = (*span.stretches(min(stop, start)), *span.starts(start, stop))
    more = not spent and (cut or stop < span.end)
    planned_until = (rows[-1].to_at or rows[-1].fires_at) if rows else since
    if isinstance(due, DueInstants) and not more:
        following = due.after
    else:
        following = schedule.next_after(planned_until if more else max(since, horizon))
    return Plan(
        rows=rows,
        next_at=None if spent or following is None else following.fires_at,
        planned_until=planned_until,
        used=span.firings(start, stop),
        more=more,
    )


@dataclass(frozen=True, slots=True)
class _Span:
    """The due instants as indexes of a counted schedule, cut where their fate changes.

    first ≤ paused_end, first ≤ window_start ≤ punctual ≤ end; what starts is a tail of them,
    with what is left out (``skips``) in between.
    """

    counted: CountedSchedule | DueInstants
    rules: CatchUpRules
    first: int
    paused_end: int
    window_start: int
    end: int
    skips: Sequence[int]
    first_start: int = 0

    @classmethod
    def of(
        cls,
        counted: CountedSchedule | DueInstants,
        since: datetime,
        now: datetime,
        rules: CatchUpRules,
        paused: datetime | None,
    ) -> "_Span":
        first = counted.index_after(since)
        end = max(first, counted.index_after(now + rules.lead))

        def index(instant: datetime) -> int:
            return min(max(first, counted.index_after(instant)), end) if instant > since else first

        paused_end = first if paused is None else index(paused)
        window = max(rules.window, _ON_TIME)
        window_start = index(now - window - MICROSECOND)
        punctual = max(paused_end, index(now - min(rules.punctual, window) - MICROSECOND))
        span = cls(counted, rules, first, paused_end, window_start, end, counted.skips(first, end))
        first_start = punctual
        if rules.policy is CatchUpPolicy.ALL:
            first_start = max(paused_end, window_start, span.back(punctual, rules.max_runs))
        elif rules.policy is CatchUpPolicy.LATEST and (
            span.firings(paused_end, punctual) or not span.firings(punctual, end)
        ):
            newest = span.back(end, 1)
            first_start = newest if newest >= window_start else punctual
        return replace(span, first_start=first_start)

    def firings(self, begin: int, end: int) -> int:
        """Return how many of the indexes from ``begin`` to below ``end`` are not left out."""
        return max(0, end - begin) - max(0, bisect_left(self.skips, end) - bisect_left(self.skips, begin))

    def back(self, end: int, count: int) -> int:
        """Return where the last ``count`` firings below ``end`` begin; the first index if there are fewer."""
        begin = end - count
        while begin > self.first and (missing := count - self.firings(begin, end)):
            begin -= missing
        return max(begin, self.first)

    def ahead(self, begin: int, count: int) -> int:
        """Return where the next ``count`` firings from ``begin`` on are over; the end if there are fewer."""
        end = begin + count
        while end < self.end and (missing := count - self.firings(begin, end)):
            end += missing
        return min(end, self.end)

    def stretches(self, stop: int) -> Iterator[PlannedFiring]:
        """Yield the rows of what does not start, below the index ``stop``."""
        begin = self.first
        missed = Verdict.MISFIRED if self.rules.policy is CatchUpPolicy.NONE else Verdict.MERGED
        for border, verdict, reason in (
            (self.paused_end, Verdict.PAUSED, "the job or its trigger was paused or disabled"),
            (self.window_start if missed is Verdict.MERGED else stop, Verdict.MISFIRED, self._late()),
            (stop, missed, self._merged()),
        ):
            until = min(border, stop)
            if begin < until:
                yield from self._stretch(begin, until, verdict, reason)
                begin = until

    def starts(self, begin: int, stop: int) -> Iterator[PlannedFiring]:
        """Yield the rows of what starts, from the index ``begin`` to below ``stop``."""
        at = self.counted.nth(begin) if begin < stop else None
        for index in range(begin, stop):
            if at is None:
                raise IndexError(f"no planned instant {index}")
            yield _row(at)
            at = self.counted.next_after(at.fires_at) if index + 1 < stop else None

    def _stretch(self, begin: int, until: int, verdict: Verdict, reason: str) -> Iterator[PlannedFiring]:
        for skip in [*self.skips[bisect_left(self.skips, begin) : bisect_left(self.skips, until)], until]:
            if begin < skip:
                first, last = self._at(begin), self._at(skip - 1)
                to_at = last.fires_at if skip - begin > 1 else None
                yield PlannedFiring(first.fires_at, first.wall_time, first.zone, verdict, reason, to_at, skip - begin)
            if skip < until:
                yield _row(self._at(skip))
            begin = skip + 1

    def _at(self, index: int) -> PlannedInstant:
        at = self.counted.nth(index)
        if at is None:
            raise IndexError(f"no planned instant {index}")
        return at

    def _late(self) -> str:
        if self.rules.policy is CatchUpPolicy.NONE:
            return f"found more than {format_duration(self.rules.punctual)} late; catch_up is none"
        return f"found later than the catch-up window of {format_duration(self.rules.window)}"

    def _merged(self) -> str:
        if self.rules.policy is CatchUpPolicy.ALL:
            return f"more than {self.rules.max_runs} were missed; the latest {self.rules.max_runs} run"
        return "missed; a later firing stands for it"


def _row(at: PlannedInstant) -> PlannedFiring:
    """Return the row of one instant that starts something, or that the schedule leaves out."""
    reason = None if at.skipped is None else _LEFT_OUT.get(at.skipped, "the schedule leaves it out")
    if reason is not None and at.why is not None:
        reason = f"{at.why}; roll is none"
    return PlannedFiring(at.fires_at, at.wall_time, at.zone, at.skipped, reason, None, at.times)
