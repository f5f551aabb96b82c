"""Schedules whose instants can be counted: every so long, every so many months, at given times."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from scheduler.domain.dst import CRON_RULES, DstRules, plan_wall
from scheduler.domain.planned import CountedSchedule, PlannedInstant, planned, to_utc

_END: Final = datetime(9990, 1, 1, tzinfo=UTC)
"""Nothing is planned after it: sums of dates and spans stay below ``datetime.max``."""
_MONTHS_A_YEAR: Final = 12


class SpanSchedule:
    """Fires at ``anchor`` and every ``span`` after it; spans are elapsed time, whatever the clocks do."""

    __slots__ = ("_anchor", "_span", "_tz")

    def __init__(self, anchor: datetime, span: timedelta, tz: ZoneInfo) -> None:
        if span <= timedelta(0):
            raise ValueError("an interval must be longer than 0s")
        self._anchor = to_utc(anchor)
        self._span = span
        self._tz = tz

    def next_after(self, instant: datetime) -> PlannedInstant | None:
        return self.nth(self.index_after(instant))

    def index_after(self, instant: datetime) -> int:
        return max(0, (to_utc(instant) - self._anchor) // self._span + 1)

    def nth(self, index: int) -> PlannedInstant | None:
        if index > (_END - self._anchor) // self._span:
            return None
        return planned(self._anchor + index * self._span, self._tz)

    def skips(self, _begin: int, _end: int) -> Sequence[int]:
        return ()


class MonthSchedule:
    """Fires at the wall time ``anchor`` and every so many months after it.

    In a month without the anchor's day it fires on the last day; the day comes back afterwards.
    Skipped and repeated wall times follow ``rules``; for those that fire twice see TwiceAMonth.
    """

    __slots__ = ("_anchor", "_months", "_rules", "_tz")

    def __init__(self, anchor: datetime, months: int, tz: ZoneInfo, rules: DstRules = CRON_RULES) -> None:
        if months < 1:
            raise ValueError("an interval must be 1 month or longer")
        self._anchor = anchor.replace(tzinfo=None, fold=0)
        self._months = months
        self._rules = rules
        self._tz = tz

    def next_after(self, instant: datetime) -> PlannedInstant | None:
        return self.nth(self.index_after(instant))

    def index_after(self, instant: datetime) -> int:
        now = min(to_utc(instant), _END)
        wall = now.astimezone(self._tz)
        months = (wall.year - self._anchor.year) * _MONTHS_A_YEAR + wall.month - self._anchor.month
        index = max(0, months // self._months - 1)  # one less, as a zone can jump back over a month's end
        while (at := self.nth(index)) is not None and at.fires_at <= now:
            index += 1
        return index

    def nth(self, index: int) -> PlannedInstant | None:
        return next(iter(self.all_of(index)), None)

    def all_of(self, index: int) -> tuple[PlannedInstant, ...]:
        """Return the one or two instants of the wall time number ``index``; none behind the last."""
        months = self._anchor.year * _MONTHS_A_YEAR + self._anchor.month - 1 + index * self._months
        year, month = divmod(months, _MONTHS_A_YEAR)
        return plan_wall(_clipped(self._anchor, year, month + 1), self._tz, self._rules) if year < _END.year else ()

    def skips(self, begin: int, end: int) -> Sequence[int]:
        return [index for index in range(begin, end) if any(at.skipped for at in self.all_of(index))]


class TwiceAMonth:
    """A MonthSchedule with both firings of a repeated wall time; those cannot be counted without a visit."""

    __slots__ = ("_inner",)

    def __init__(self, inner: MonthSchedule) -> None:
        self._inner = inner

    def next_after(self, instant: datetime) -> PlannedInstant | None:
        index = self._inner.index_after(instant)
        second = self._inner.all_of(index - 1)[1:] if index else ()
        return next((at for at in second if at.fires_at > instant), None) or self._inner.nth(index)


def _clipped(wall: datetime, year: int, month: int) -> datetime:
    for day in range(wall.day, 27, -1):
        try:
            return wall.replace(year=year, month=month, day=day)
        except ValueError:  # the month is shorter
            continue
    return wall.replace(year=year, month=month)


class ListSchedule:
    """Fires at the given instants, once each; equal ones are one, left-out ones are added up."""

    __slots__ = ("_times",)

    def __init__(self, times: Iterable[PlannedInstant]) -> None:
        by_instant: dict[datetime, PlannedInstant] = {}
        for at in sorted(times, key=lambda at: (at.fires_at, at.wall_time)):
            same = by_instant.get(at.fires_at)
            if same is None or at.skipped is None:
                by_instant[at.fires_at] = at
            else:
                by_instant[at.fires_at] = same._replace(times=same.times + at.times)
        self._times = list(by_instant.values())

    def next_after(self, instant: datetime) -> PlannedInstant | None:
        return self.nth(self.index_after(instant))

    def index_after(self, instant: datetime) -> int:
        return bisect_right(self._times, to_utc(instant), key=lambda at: at.fires_at)

    def nth(self, index: int) -> PlannedInstant | None:
        return self._times[index] if index < len(self._times) else None

    def skips(self, begin: int, end: int) -> Sequence[int]:
        return [index for index in range(begin, min(end, len(self._times))) if self._times[index].skipped]


class BoundedCount:
    """A counted schedule between two instants, both included; indexes count from the first one left."""

    __slots__ = ("_first", "_inner", "_last")

    def __init__(self, inner: CountedSchedule, before_start: datetime | None, ends_at: datetime | None) -> None:
        self._inner = inner
        self._first = 0 if before_start is None else inner.index_after(before_start)
        self._last = None if ends_at is None else inner.index_after(ends_at)

    def next_after(self, instant: datetime) -> PlannedInstant | None:
        return self.nth(self.index_after(instant))

    def index_after(self, instant: datetime) -> int:
        index = self._inner.index_after(instant)
        if self._last is not None:
            index = min(index, self._last)
        return max(0, index - self._first)

    def nth(self, index: int) -> PlannedInstant | None:
        index += self._first
        return None if self._last is not None and index >= self._last else self._inner.nth(index)

    def skips(self, begin: int, end: int) -> Sequence[int]:
        first = self._first
        return [index - first for index in self._inner.skips(begin + first, end + first)]
