"""Business calendars: which days are open, by whose data, and how far those reach.

A calendar is data, worked out once when it is applied and stored: whoever plans by it needs
neither the ``holidays`` library nor the same version of it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Final

from schemas.calendar_spec import WEEKDAYS

DAY: Final = timedelta(days=1)
MOST_CLOSED: Final = 366
"""An open day is looked for over so many days; a calendar closed for longer is refused."""
END: Final = date(9990, 1, 1)
"""Nothing is planned after it."""
WARN_AHEAD: Final = timedelta(days=60)
"""So long before its data end, people are told."""
_NAMES: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


class NoDataError(ValueError):
    """The calendar says nothing about a day. That is not the same as no holidays."""


@dataclass(frozen=True, slots=True)
class CalendarPart:
    """One list of closed days; a calendar that is a union has several."""

    weekend: frozenset[int]
    """As ``date.weekday()``."""
    closed: Mapping[date, str]
    """Name of each closed day; those of a weekend too."""
    opened: frozenset[date] = frozenset()
    """Open whatever else is said of them."""

    def is_open(self, day: date) -> bool:
        return day in self.opened or (day.weekday() not in self.weekend and day not in self.closed)

    def why_closed(self, day: date) -> str | None:
        return None if self.is_open(day) else self.closed.get(day, _NAMES[day.weekday()])


@dataclass(frozen=True, slots=True)
class Calendar:
    """Open and closed days from ``first`` to ``last``, both included; closed where any part says so."""

    name: str
    parts: tuple[CalendarPart, ...]
    first: date = date.min
    last: date = END
    listed_until: date | None = None
    """Where a list written by hand ends; the days after it are judged by weekday alone. None: no such list."""
    source: str = ""
    """What the holidays come from: ``holidays 0.108``."""
    remedy: str = field(default="", compare=False)
    """What may let it go on after ``last``, in words; known where it is worked out, and not stored."""
    version: int = field(default=0, compare=False)
    """Counts the changes of its data in the database; 0: not stored."""

    def is_open(self, day: date) -> bool:
        """Whether the day is open.

        Raises:
            NoDataError: the calendar does not reach to that day.
        """
        if not self.first <= day <= self.last:
            raise NoDataError(f"calendar {self.name} has data from {self.first} to {self.last}, not for {day}")
        return all(part.is_open(day) for part in self.parts)

    def why_closed(self, day: date) -> str | None:
        """Return the holiday, or the day of the week, that closes ``day``; None: it is open."""
        return next((why for part in self.parts if (why := part.why_closed(day)) is not None), None)

    def closed_days(self, first: date, last: date) -> Iterator[tuple[date, str]]:
        """Yield each closed day between the two, included, with its name.

        Days that the weekday alone closes are left out.

        Raises:
            NoDataError: the calendar does not reach that far.
        """
        for day in (first, last):
            self.is_open(day)
        named = sorted({day for part in self.parts for day in part.closed if first <= day <= last})
        for day in named:
            names = [part.closed[day] for part in self.parts if day in part.closed and day not in part.opened]
            if names:
                yield day, ", ".join(dict.fromkeys(names))

    @property
    def runs_out(self) -> date | None:
        """The last day it knows about; None: it has no end."""
        return self.last if self.last < END else self.listed_until

    def expiry(self, today: date) -> str | None:
        """Return what to tell people of its end, from WARN_AHEAD before it on; None: nothing yet."""
        if self.runs_out is None or self.runs_out - today > WARN_AHEAD:
            return None
        ends = f"its data {'end' if self.runs_out >= today else 'ended'} on {self.runs_out}"
        if self.last < END:
            remedy = f"; {self.remedy}, then apply again" if self.remedy else ""
            return f"{ends}: nothing is planned after that day{remedy}"
        return f"{ends}: later days are judged by the weekday alone; list the next year, or say valid_until"

    def has_open_day(self) -> bool:
        """Whether there is an open day within MOST_CLOSED days of some day that it knows: else all are closed."""
        day = max(self.first, min(self.last - MOST_CLOSED * DAY, _LOOKED_AT)) if self.last < END else _LOOKED_AT
        return any(self.is_open(at) for at in days_between(day, min(self.last, day + MOST_CLOSED * DAY)))


_LOOKED_AT: Final = date(2026, 1, 1)
EVERY_DAY: Final = Calendar("", ())
"""No calendar: every day is open."""
WEEKENDS: Final = Calendar("Monday to Friday", (CalendarPart(frozenset({5, 6}), {}),))
"""What a rule that counts business days is read in when it names no calendar."""


def days_between(first: date, last: date) -> Iterator[date]:
    """Yield each day from ``first`` to ``last``, both included."""
    for count in range((last - first).days + 1):
        yield first + count * DAY


def weekday_names(weekend: frozenset[int]) -> tuple[str, ...]:
    return tuple(WEEKDAYS[day] for day in sorted(weekend))


def calendar_document(calendar: Calendar) -> dict[str, Any]:
    """Return the calendar as JSON, what is stored; ``calendar_from`` reads it back to an equal one."""
    return {
        "parts": [
            {
                "weekend": sorted(part.weekend),
                "closed": {day.isoformat(): name for day, name in sorted(part.closed.items())},
                "open": [day.isoformat() for day in sorted(part.opened)],
            }
            for part in calendar.parts
        ],
        "first": calendar.first.isoformat(),
        "last": calendar.last.isoformat(),
        "listed_until": calendar.listed_until.isoformat() if calendar.listed_until else None,
        "source": calendar.source,
    }


def calendar_from(name: str, version: int, document: Mapping[str, Any]) -> Calendar:
    """Return the calendar that ``calendar_document`` gave."""
    listed = document["listed_until"]
    return Calendar(
        name=name,
        parts=tuple(
            CalendarPart(
                frozenset(part["weekend"]),
                {date.fromisoformat(day): closed for day, closed in part["closed"].items()},
                frozenset(map(date.fromisoformat, part["open"])),
            )
            for part in document["parts"]
        ),
        first=date.fromisoformat(document["first"]),
        last=date.fromisoformat(document["last"]),
        listed_until=date.fromisoformat(listed) if listed else None,
        source=document["source"],
        version=version,
    )
