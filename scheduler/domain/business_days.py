"""The days of a calendar rule, month by month: count, shift, roll.

In that order: the rule names a day of the month, ``offset_days`` shifts it by calendar days, and
``roll`` replaces it where it is then closed. Rolling keeps the order of days, so the months follow
one another; two days may roll to the same one.
"""

from collections.abc import Iterator
from datetime import date
from typing import Final, NamedTuple

from scheduler.domain.calendar import DAY, END, EVERY_DAY, MOST_CLOSED, WEEKENDS, Calendar, NoDataError, days_between
from schemas.calendar_trigger import CalendarRule
from schemas.vocabulary import Roll

MONTHS_A_YEAR: Final = 12
_QUARTER: Final = 3
_MONTHS_KEPT: Final = 16


class PlannedDay(NamedTuple):
    day: date
    is_open: bool
    """False: closed, and the rule rolls to no other."""


class RuleDays:
    """The days of one rule in one calendar (None: the rule names none), by month counted from year 0."""

    def __init__(self, rule: CalendarRule, calendar: Calendar | None) -> None:
        if calendar is None:
            calendar = WEEKENDS if rule.counts_business_days or rule.roll is not Roll.NONE else EVERY_DAY
        self.calendar: Final = calendar
        self._rule: Final = rule
        self._offset: Final = rule.offset_days * DAY
        self._months: dict[int, tuple[PlannedDay, ...]] = {}

    @property
    def last_month(self) -> int:
        """No month after it has a day."""
        return month_of(min(self.calendar.last, END)) + abs(self._rule.offset_days) // 28 + 1

    def month_before(self, day: date) -> int:
        """Return a month after whose days come all the rule's days that are not before ``day``."""
        day = max(day, self.calendar.first)
        margin = MOST_CLOSED * DAY + abs(self._offset)
        earliest = month_of(day - margin) if day - date.min > margin + 31 * DAY else month_of(date.min)
        month = month_of(day - self._offset) if day - date.min > abs(self._offset) else earliest
        while month > earliest:
            month -= 1
            if (days := self.days_of(month)) and days[-1].day < day:
                break
        return month

    def days_of(self, month: int) -> tuple[PlannedDay, ...]:
        """Return the days that the rule makes of one month, ascending; they may lie in another month."""
        days = self._months.get(month)
        if days is None:
            if len(self._months) >= _MONTHS_KEPT:
                self._months.clear()
            days = self._months[month] = tuple(self._planned(month))
        return days

    def _planned(self, month: int) -> Iterator[PlannedDay]:
        try:
            for day in self._named(first_of(month), first_of(month + 1) - DAY):
                yield self._rolled(day + self._offset)
        except (NoDataError, OverflowError):  # nothing is known from here on, and nothing is made up
            return

    def _named(self, first: date, last: date) -> Iterator[date]:
        """Yield the days of a month that the rule names."""
        rule = self._rule
        if rule.quarter_end is not None and last.month % _QUARTER:
            return
        if "day" in (rule.month_end, rule.quarter_end):
            yield last
        elif rule.month_end is not None or rule.quarter_end is not None:
            yield from self._nth_open(-1, first, last)
        elif rule.date is not None:
            day = int(rule.date[3:])
            if first.month == int(rule.date[:2]) and day <= last.day:
                yield first.replace(day=day)
        elif isinstance(rule.business_day, int):
            yield from self._nth_open(rule.business_day, first, last)
        else:
            known = days_between(max(first, self.calendar.first), min(last, self.calendar.last))
            yield from filter(self.calendar.is_open, known)

    def _nth_open(self, n: int, first: date, last: date) -> Iterator[date]:
        days = list(days_between(first, last))
        if n < 0:
            days.reverse()
        left = abs(n)
        for day in days:
            left -= self.calendar.is_open(day)
            if not left:
                yield day
                return

    def _rolled(self, day: date) -> PlannedDay:
        if self.calendar.is_open(day):
            return PlannedDay(day, is_open=True)
        match self._rule.roll:
            case Roll.NONE:
                return PlannedDay(day, is_open=False)
            case Roll.PRECEDING:
                return PlannedDay(self._nearest(day, -1), is_open=True)
            case Roll.FOLLOWING:
                return PlannedDay(self._nearest(day, 1), is_open=True)
            case Roll.MODIFIED_FOLLOWING:
                rest = days_between(day + DAY, first_of(month_of(day) + 1) - DAY)
                within = next(filter(self.calendar.is_open, rest), None)
                return PlannedDay(within or self._nearest(day, -1), is_open=True)

    def _nearest(self, day: date, step: int) -> date:
        for _ in range(MOST_CLOSED):
            day += step * DAY
            if self.calendar.is_open(day):
                return day
        raise NoDataError(f"calendar {self.calendar.name} is closed for more than {MOST_CLOSED} days around {day}")


def month_of(day: date) -> int:
    return day.year * MONTHS_A_YEAR + day.month - 1


def first_of(month: int) -> date:
    year, index = divmod(month, MONTHS_A_YEAR)
    return date(year, index + 1, 1)
