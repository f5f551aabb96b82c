"""The calendars of definitions files: given once, resolvable, and known to the triggers that name them."""

from collections.abc import Iterator, Mapping

from scheduler.definitions.problems import Path, Problem, did_you_mean, show_path, suggest
from scheduler.definitions.yaml_source import Document
from scheduler.domain.calendar import Calendar
from scheduler.domain.calendar_countries import country_meant
from scheduler.domain.calendar_sources import CalendarError, Calendars
from schemas.calendar_spec import CalendarSpec
from schemas.calendar_trigger import CalendarTrigger
from schemas.trigger_spec import TriggerSpec


class CalendarEntries:
    """The calendars of all files by name, and where each stands."""

    def __init__(self) -> None:
        self.specs: dict[str, CalendarSpec] = {}
        self.known: dict[str, Calendar] = {}
        """Those that can be used, countries that triggers name included; filled by the checks."""
        self._documents: dict[str, Document] = {}
        self._calendars = Calendars(self.specs)
        self._unreadable = False

    def add(self, document: Document, specs: Mapping[str, CalendarSpec], *, readable: bool) -> Iterator[Problem]:
        """Take the calendars of one file; not ``readable``: others of its calendars are wrong and said to be."""
        self._unreadable |= not readable
        for name, spec in specs.items():
            if name in self.specs:
                first = self._documents[name]
                line = first.nearest(("calendars", name), key=True).line
                message = f"the calendar is given twice, first in {first.file}:{line}"
                yield self._problem(document, ("calendars", name), message)
            else:
                self.specs[name] = spec
                self._documents[name] = document

    def check(self) -> Iterator[Problem]:
        """Resolve each calendar, and yield what is wrong with it."""
        for name, spec in self.specs.items():
            unknown = [member for member in spec.union or () if member[:1].islower() and member not in self.specs]
            for member in unknown:
                path = ("calendars", name, "union", (spec.union or ()).index(member))
                yield self._problem(self._documents[name], path, self._unknown(member))
            try:
                self.known[name] = self._calendars.get(name)
            except KeyError:  # of the unknown ones, its own or another's
                continue
            except CalendarError as error:
                yield self._problem(self._documents[name], ("calendars", name, *error.path), str(error))

    def check_trigger(self, trigger: TriggerSpec) -> tuple[Path, str] | None:
        """Return what is wrong with the calendar that ``trigger`` names: path within the trigger, and message."""
        if not isinstance(trigger, CalendarTrigger) or (name := trigger.calendar.calendar_name) is None:
            return None
        if name in self.known:
            return None
        if trigger.calendar.country is None:
            message = "the calendar cannot be read" if name in self.specs or self._unreadable else self._unknown(name)
            return ("calendar", "calendar"), message
        try:
            self.known[name] = self._calendars.get(name)
        except CalendarError as error:
            return ("calendar", "country"), str(error)
        return None

    def problem(self, name: str, message: str) -> Problem:
        """Return a problem or a warning about the calendar ``name``."""
        return self._problem(self._documents[name], ("calendars", name), message)

    def _unknown(self, name: str) -> str:
        country = None if did_you_mean(name, self.specs) else country_meant(name)
        hint = suggest(name, self.specs) if country is None else f"did you mean the country {country}?"
        return f"there is no calendar {name}; {hint}"

    @staticmethod
    def _problem(document: Document, path: Path, message: str) -> Problem:
        return Problem(document.file, document.nearest(path, key=len(path) == 2), show_path(path), message)  # noqa: PLR2004 - a name
