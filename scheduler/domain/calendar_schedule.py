"""Calendar triggers as instants: the days of the rule at one wall time of a zone.

A day is judged by the local calendar of the zone: 00:30 in Tokyo is still the day before in UTC.
"""

from collections.abc import Iterator
from datetime import date, datetime
from typing import Final
from zoneinfo import ZoneInfo

from scheduler.domain.business_days import MONTHS_A_YEAR, PlannedDay, RuleDays
from scheduler.domain.calendar import DAY, END, Calendar
from scheduler.domain.dst import DstRules, plan_wall
from scheduler.domain.planned import PlannedInstant, to_utc
from scheduler.domain.zones import change_around
from schemas.calendar_trigger import CalendarRule
from schemas.vocabulary import Verdict

MAX_SEARCH_YEARS: Final = 40
"""A rule without a day for so long has none: a leap day comes after 8 years at most."""


class CalendarSchedule:
    """The firings of a calendar rule in one time zone; it ends where the calendar's data end.

    A closed day that the rule does not roll is an instant too, ``skipped_calendar``. What a zone
    has left out as a correction (Pacific/Apia had no 2011-12-30) is none, as with cron.
    """

    __slots__ = ("_at", "_days", "_dst", "_tz")

    def __init__(self, rule: CalendarRule, tz: ZoneInfo, calendar: Calendar | None, dst: DstRules) -> None:
        self._days = RuleDays(rule, calendar)
        self._at = rule.at
        self._tz = tz
        self._dst = dst

    def next_after(self, instant: datetime) -> PlannedInstant | None:
        now = to_utc(instant)
        if now.year >= END.year:
            return None
        # Yesterday's wall time can lie ahead: a zone that goes east over the date line repeats a day.
        start = max(now.astimezone(self._tz).date(), date.min + DAY) - DAY
        for planned in self._from(start):
            for at in self._instants(planned):
                if at.fires_at > now:
                    return at
        return None

    def _from(self, start: date) -> Iterator[PlannedDay]:
        """Yield the days from ``start`` on, in order, as far as the calendar knows them."""
        first = self._days.month_before(start)
        last = min(self._days.last_month, first + MAX_SEARCH_YEARS * MONTHS_A_YEAR)
        for month in range(first, last + 1):
            for planned in self._days.days_of(month):
                if planned.day >= start:
                    yield planned

    def _instants(self, planned: PlannedDay) -> Iterator[PlannedInstant]:
        """Yield the instants of one day, ascending: usually one, two in a repeated hour when both are wanted."""
        wall = datetime.combine(planned.day, self._at)
        change = change_around(wall, self._tz)
        if change is not None and change.is_gap and change.is_correction:
            return
        for at in plan_wall(wall, self._tz, self._dst):
            yield at if planned.is_open else at._replace(skipped=Verdict.SKIPPED_CALENDAR, why=self._why(planned.day))

    def _why(self, day: date) -> str:
        calendar = self._days.calendar
        return f"calendar {calendar.name} is closed on this day ({calendar.why_closed(day)})"
