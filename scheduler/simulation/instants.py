"""The instants of a schedule in bulk, as whole numbers of microseconds since 1970.

A year of 300 hourly schedules is 2.6 million instants; asked for one by one they take 20 s. A cron
expression has the same times on every day that matches it, so on days far from any change of
offset they are added up; an interval is a range. Everything else is asked for.
"""

from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final

from scheduler.domain.counted_schedules import SpanSchedule
from scheduler.domain.cron import LAST_YEAR, CronFields
from scheduler.domain.planned import MICROSECOND, PlannedInstant, Schedule
from scheduler.domain.zones import offset_at, zone

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
SECOND: Final = 1_000_000
MINUTE: Final = 60 * SECOND
DAY: Final = 24 * 60 * MINUTE
_DECEMBER: Final = 12
_HALF_DAYS: Final = range(-3, 6)
"""Where the offset is looked at: from more than a day before a wall day to more than a day after it."""


def to_us(instant: datetime) -> int:
    return (instant - EPOCH) // MICROSECOND


def to_instant(us: int) -> datetime:
    return EPOCH + timedelta(microseconds=us)


class Instants:
    """The instants of one schedule, any stretch of them."""

    def __init__(self, schedule: Schedule, fields: CronFields | None = None) -> None:
        """``fields`` are those of ``schedule`` if it is a cron expression and nothing else."""
        self._schedule = schedule
        self._fields = fields
        self._times = [] if fields is None else _times_of_day(fields)

    def between(self, after: int, until: int) -> tuple[list[int], int]:
        """Return the instants later than ``after`` and not later than ``until``, ascending, and ``until``.

        What the schedule itself leaves out (``PlannedInstant.skipped``) ends the stretch: then the second
        value is less than asked for, right before the first of those.
        """
        if isinstance(self._schedule, SpanSchedule):
            return self._steps(self._schedule, after, until), until
        found: list[int] = []
        while (at := self._schedule.next_after(to_instant(after))) is not None:
            fires_at = to_us(at.fires_at)
            if fires_at > until:
                break
            if at.skipped is not None:
                until = fires_at - 1
                break
            found.append(fires_at)
            after = fires_at
            if self._fields is not None:
                after = self._add_days(self._fields, at, until, found)
        if found and found[-1] > until:
            del found[bisect_right(found, until) :]
        return found, until

    def _add_days(self, fields: CronFields, at: PlannedInstant, until: int, found: list[int]) -> int:
        """Add the rest of the day of ``at`` and whole days after it, as long as no change of offset is near.

        Returns the instant up to which all is found, which may lie behind ``until``.
        """
        after = found[-1]
        for number in _matching_days(fields, datetime.fromisoformat(at.wall_time)):
            offset = _steady_offset(at.zone, number)
            if offset is None or (day := number * DAY - offset) > until:
                break
            rest = self._times if day > after else self._times[bisect_right(self._times, after - day) :]
            found += [day + time for time in rest]
            after = day + DAY - 1
        return after

    @staticmethod
    def _steps(schedule: SpanSchedule, after: int, until: int) -> list[int]:
        index = schedule.index_after(to_instant(after))
        first, second = schedule.nth(index), schedule.nth(index + 1)
        if first is None or second is None:
            return []
        start = to_us(first.fires_at)
        return list(range(start, until + 1, to_us(second.fires_at) - start))


def _times_of_day(fields: CronFields) -> list[int]:
    minutes = [60 * hour + minute for hour in fields.hours for minute in fields.minutes]
    return [minute * MINUTE + second * SECOND for minute in minutes for second in fields.seconds]


def _matching_days(fields: CronFields, wall: datetime) -> Iterator[int]:
    """Yield the days that the expression matches, from that of ``wall`` on, counted from 1970."""
    year, month, first = wall.year, wall.month, wall.day
    while year <= LAST_YEAR:
        start = date(year, month, 1).toordinal() - EPOCH.toordinal() - 1
        if month in fields.months:
            yield from (start + day for day in fields.days_in(year, month) if day >= first)
        year, month, first = (year, month + 1, 1) if month < _DECEMBER else (year + 1, 1, 1)


@lru_cache(maxsize=200_000)
def _steady_offset(name: str, days: int) -> int | None:
    """Return the offset of a zone around a wall day (days since 1970) in microseconds; None when it changes."""
    noon = EPOCH.replace(tzinfo=None) + timedelta(days=days)
    tz = zone(name)
    offsets = {offset_at(noon + timedelta(hours=12 * half), tz) for half in _HALF_DAYS}
    return offsets.pop() // MICROSECOND if len(offsets) == 1 else None
