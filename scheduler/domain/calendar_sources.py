"""From the ``calendars`` of a definitions file to calendars: countries looked up, unions joined."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date
from typing import Final

from scheduler.domain.calendar import END, Calendar, CalendarPart
from scheduler.domain.calendar_countries import country_days
from schemas.calendar_spec import WEEKDAYS, CalendarSpec
from schemas.calendar_trigger import CalendarTrigger
from schemas.job_spec import JobSpec

_WEEKEND: Final = frozenset({5, 6})
_LISTED: Final = "closed by definition"
_NEWER: Final = "a newer holidays package may know more"


class CalendarError(ValueError):
    """One plain sentence, and which key of the calendar it is about: () for the whole."""

    def __init__(self, path: tuple[str | int, ...], message: str) -> None:
        super().__init__(message)
        self.path = path


class Calendars:
    """Resolves calendars by name; a name that is a country's code needs no definition."""

    def __init__(self, specs: Mapping[str, CalendarSpec]) -> None:
        self._specs = specs
        self._found: dict[str, Calendar] = {}
        self._open: list[str] = []
        """Names being resolved, outermost first: to find unions that contain themselves."""

    def get(self, name: str) -> Calendar:
        """Return the calendar called ``name``; looked up once.

        Raises:
            KeyError: there is no such name, and it is no country's code.
            CalendarError: its definition is wrong.
        """
        if name not in self._found:
            spec = self._specs.get(name) or implied(name)
            self._open.append(name)
            try:
                self._found[name] = self._resolve(name, spec)
            finally:
                self._open.pop()
        return self._found[name]

    def _resolve(self, name: str, spec: CalendarSpec) -> Calendar:
        calendar = _listed(name, spec) if spec.union is None else self._joined(name, spec.union)
        if spec.valid_until is not None:
            if not calendar.first <= spec.valid_until <= calendar.last:
                message = f"{spec.valid_until} lies outside of the data, which go from {calendar.first} to"
                raise CalendarError(("valid_until",), f"{message} {calendar.last}")
            remedy = _remedy(spec.valid_until, calendar)
            calendar = replace(calendar, last=spec.valid_until, listed_until=None, remedy=remedy)
        if not calendar.has_open_day():
            raise CalendarError((), "every day is closed, so nothing would ever fire")
        return calendar

    def _joined(self, name: str, union: tuple[str, ...]) -> Calendar:
        members = [self._member(index, member) for index, member in enumerate(union)]
        listed = [calendar.listed_until for calendar in members if calendar.listed_until is not None]
        first, ends = max(member.first for member in members), min(members, key=lambda member: member.last)
        last = ends.last
        if first > last:
            raise CalendarError(("union",), "the years with data of these calendars have none in common")
        return Calendar(
            name=name,
            parts=tuple(part for calendar in members for part in calendar.parts),
            first=first,
            last=last,
            listed_until=min(listed, default=None),
            source=next((calendar.source for calendar in members if calendar.source), ""),
            remedy=f"it ends with {ends.name}: {ends.remedy}" if ends.remedy else "",
        )

    def _member(self, index: int, member: str) -> Calendar:
        if member in self._open:
            circle = " → ".join([*self._open[self._open.index(member) :], member])
            raise CalendarError(("union", index), f"a union that contains itself: {circle}")
        try:
            return self.get(member)
        except CalendarError as error:
            raise CalendarError(("union", index), f"{member}: {error}") from None


def _remedy(valid_until: date, calendar: Calendar) -> str:
    if calendar.last == END:
        return "renew its lists and its valid_until"
    if valid_until == calendar.last:
        return f"{calendar.remedy}, for a later valid_until"
    return f"a later valid_until lets it go on, at most to {calendar.last}"


def implied(name: str) -> CalendarSpec:
    """Return the calendar that a country's code means without a definition.

    Raises:
        KeyError: it is no country's code; those begin with capital letters, which names cannot.
    """
    if not name[:1].isupper():
        raise KeyError(name)
    return CalendarSpec(country=name)


def calendar_names(jobs: Iterable[JobSpec]) -> list[str]:
    """Return the names and countries that the triggers of ``jobs`` use, sorted."""
    rules = (t.calendar for job in jobs for t in job.triggers if isinstance(t, CalendarTrigger))
    return sorted({rule.calendar_name for rule in rules if rule.calendar_name is not None})


def resolve_calendars(specs: Mapping[str, CalendarSpec], jobs: Iterable[JobSpec]) -> dict[str, Calendar]:
    """Return every calendar of ``specs`` and every country that ``jobs`` name; all of them are valid."""
    calendars = Calendars(specs)
    return {
        name: calendars.get(name) for name in sorted({*specs, *(n for n in calendar_names(jobs) if n[:1].isupper())})
    }


def _listed(name: str, spec: CalendarSpec) -> Calendar:
    own = dict.fromkeys(spec.closed, _LISTED)
    weekend = frozenset(map(WEEKDAYS.index, spec.weekend)) if spec.weekend is not None else None
    if spec.place is None:
        part = CalendarPart(_WEEKEND if weekend is None else weekend, own, frozenset(spec.open))
        listed_until = date(max(spec.closed).year, 12, 31) if spec.closed else None
        return Calendar(name, (part,), date(2, 1, 1), END, listed_until)
    try:
        days = country_days(spec.place)
    except ValueError as error:
        raise CalendarError(("subdivision" if spec.subdivision else "country",), str(error)) from None
    for key, given in (("closed", spec.closed), ("open", spec.open)):
        for index, day in enumerate(given):
            if not days.first <= day <= days.last:
                message = f"{day} lies outside of the data of {spec.place}, which go from {days.first} to {days.last}"
                raise CalendarError((key, index), message)
    opened = (days.worked - own.keys()) | set(spec.open)
    part = CalendarPart(days.weekend if weekend is None else weekend, days.closed | own, opened)
    return Calendar(name, (part,), days.first, days.last, None, days.source, _NEWER)
