"""Cron expressions: the sets of values that a firing's wall time must have.

croniter expands the fields, after cron_text.py has refused what it would read otherwise than other
cron programs do. The day rule is ours, because croniter ands what cron(8) ors (docs/time.md). A
change of croniter's version has to pass tests/unit/cron_vectors.txt.
"""

from bisect import bisect_left
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Final, Literal

from croniter import croniter

from scheduler.domain.cron_text import DAYS_A_WEEK, FIELDS, WEEKDAY, FieldItems, FieldSpec, split_fields

DayMatch = Literal["any", "all"]

MAX_SEARCH_YEARS: Final = 50
"""How far ahead a match is looked for. The rarest pattern (29 February on a given weekday) takes 40."""
LAST_YEAR: Final = 9990
"""Leaves room for offsets and durations below ``datetime.max``."""
_DECEMBER: Final = 12


@dataclass(frozen=True, slots=True)
class CronFields:
    """What a cron expression asks for. Times are wall times; no zone is known here.

    ``wild`` is cron(8)'s distinction: the minute or the hour begins with ``*``, or the hour has a
    step; such an expression follows the wall clock through a change of offset, where one with a
    fixed time runs once. ``union`` says that a day has to match one of the day fields only: both
    are restricted and ``day_match`` is ``any``, which surprises many and deserves a warning.
    """

    text: str
    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    months: tuple[int, ...]
    days: frozenset[int]
    last_day: bool
    weekdays: frozenset[int]
    """0 is Sunday."""
    nth_weekdays: frozenset[tuple[int, int]]
    last_weekdays: frozenset[int]
    union: bool
    wild: bool
    _days_of: dict[tuple[int, int], tuple[int, ...]] = field(default_factory=dict, compare=False, repr=False)

    def days_in(self, year: int, month: int) -> tuple[int, ...]:
        """Return the matching days of a month, ascending."""
        first = date(year, month, 1).isoweekday() % DAYS_A_WEEK
        key = (first, _length(year, month))
        days = self._days_of.get(key)
        if days is None:
            days = self._days_of[key] = tuple(day for day in range(1, key[1] + 1) if self._takes(day, *key))
        return days

    def next_wall(self, wall: datetime, *, inclusive: bool = False) -> datetime | None:
        """Return the first matching wall time after ``wall`` (naive); None within MAX_SEARCH_YEARS.

        ``inclusive`` lets ``wall`` itself match. Fractions of a second are rounded up.
        """
        second = wall.second + (1 if wall.microsecond or not inclusive else 0)
        year, month, last = wall.year, wall.month, min(wall.year + MAX_SEARCH_YEARS, LAST_YEAR)
        if month in self.months:
            for day in self.days_in(year, month):
                if day < wall.day:
                    continue
                time = self._time_from(wall.hour, wall.minute, second) if day == wall.day else self._first_time
                if time is not None:
                    return datetime(year, month, day, *time)  # noqa: DTZ001 - a wall time
        while year <= last:
            year, month = (year, month + 1) if month < _DECEMBER else (year + 1, 1)
            if month in self.months and (days := self.days_in(year, month)):
                return datetime(year, month, days[0], *self._first_time) if year <= last else None  # noqa: DTZ001
        return None

    def count_walls(self, start: datetime, end: datetime) -> int:
        """Return how many matching wall times lie in [start, end); as fast for a day as for a second."""
        days = (start.date() + timedelta(days=n) for n in range((end.date() - start.date()).days + 1))
        count = 0
        for day in days:
            if day.month in self.months and day.day in self.days_in(day.year, day.month):
                low = self._times_before(start.time()) if day == start.date() else 0
                whole = len(self.hours) * len(self.minutes) * len(self.seconds)
                count += (self._times_before(end.time()) if day == end.date() else whole) - low
        return count

    def _times_before(self, end: time) -> int:
        hours, minutes = bisect_left(self.hours, end.hour), bisect_left(self.minutes, end.minute)
        count = hours * len(self.minutes) * len(self.seconds)
        if end.hour in self.hours:
            count += minutes * len(self.seconds)
            if end.minute in self.minutes:
                count += bisect_left(self.seconds, end.second)
        return count

    @property
    def _first_time(self) -> tuple[int, int, int]:
        return self.hours[0], self.minutes[0], self.seconds[0]

    def _time_from(self, hour: int, minute: int, second: int) -> tuple[int, int, int] | None:
        """Return the first time of day not earlier than the one given; ``second`` may be 60."""
        for h in self.hours:
            if h < hour:
                continue
            if h > hour:
                return h, self.minutes[0], self.seconds[0]
            for m in self.minutes:
                if m < minute:
                    continue
                if m > minute:
                    return h, m, self.seconds[0]
                for s in self.seconds:
                    if s >= second:
                        return h, m, s
        return None

    def _takes(self, day: int, first_weekday: int, length: int) -> bool:
        weekday = (first_weekday + day - 1) % DAYS_A_WEEK
        by_day = day in self.days or (self.last_day and day == length)
        by_weekday = (
            weekday in self.weekdays
            or (weekday, (day - 1) // DAYS_A_WEEK + 1) in self.nth_weekdays
            or (weekday in self.last_weekdays and day + DAYS_A_WEEK > length)
        )
        return by_day or by_weekday if self.union else by_day and by_weekday

    def can_fire(self) -> bool:
        """Whether any day of the calendar matches: each month, of each length, from each weekday."""
        return any(
            self._takes(day, first, length)
            for month in self.months
            for length in ({28, 29} if month == 2 else {_length(2001, month)})  # noqa: PLR2004 - February
            for first in range(DAYS_A_WEEK)
            for day in range(1, length + 1)
        )


def _length(year: int, month: int) -> int:
    if month == 2:  # noqa: PLR2004 - February
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in {4, 6, 9, 11} else 31


@lru_cache(maxsize=8192)
def _parse(text: str, seconds: bool, day_match: DayMatch, hash_key: str) -> CronFields:  # noqa: FBT001 - cache key
    texts = split_fields(text, seconds=seconds)
    parts: list[FieldItems] = []
    for spec, whole in zip(FIELDS, texts, strict=True):
        part = FieldItems(spec, hash_key)
        for item in whole.split(","):
            part.take(item)
        parts.append(part)
    # Without plain items a field gets any value; what it expands to is then left aside.
    second, minute, hour, day, month, weekday = (",".join(part.plain) or str(part.spec.low) for part in parts)
    expanded, _ = croniter.expand(f"{minute} {hour} {day} {month} {weekday} {second}")
    values = [_full(spec, expanded[at]) for spec, at in zip(FIELDS, (5, 0, 1, 2, 3, 4), strict=True)]
    starred = texts[3][0] in "*?" or texts[5][0] in "*?"
    fields = CronFields(
        text=text,
        seconds=values[0],
        minutes=values[1],
        hours=values[2],
        days=frozenset(values[3] if parts[3].plain else ()),
        last_day=parts[3].last_day,
        months=values[4],
        weekdays=frozenset(values[5] if parts[5].plain else ()),
        nth_weekdays=frozenset(parts[5].nth),
        last_weekdays=frozenset(parts[5].last_weekdays),
        union=day_match == "any" and not starred,
        wild=texts[1][0] == "*" or texts[2][0] == "*" or "/" in texts[2],
    )
    if not fields.can_fire():
        raise ValueError(f"{text!r} never fires: no day of the calendar matches its day, month and weekday fields")
    return fields


def _full(spec: FieldSpec, values: list[int | Literal["*", "l"]]) -> tuple[int, ...]:
    if values == ["*"]:
        return tuple(range(spec.low, DAYS_A_WEEK if spec is WEEKDAY else spec.high + 1))
    return tuple(sorted({int(value) for value in values}))


def parse_cron(text: str, *, seconds: bool = False, day_match: DayMatch = "any", hash_key: str = "") -> CronFields:
    """Return the fields of a cron expression; cached, so that equal texts cost one parse.

    Five fields or a macro (``@daily``); six with ``seconds``, seconds first. ``hash_key`` (tenant
    and job) is what ``H`` is spread by; the same key gives the same values for ever.

    Raises:
        ValueError: one sentence that names the field, the offending text and what is allowed.
    """
    return _parse(text, seconds, day_match, hash_key if "h" in text.lower() else "")
