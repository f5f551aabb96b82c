"""What is allowed and probably not meant: found when valid definitions are loaded, said and not refused.

One function per kind of warning, each over all jobs, listed in FINDERS.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from scheduler.definitions.calendars import CalendarEntries
from scheduler.definitions.conflicts import find_same_instants, limit_of
from scheduler.definitions.entries import Entry
from scheduler.definitions.problems import Path, Problem, suggest
from scheduler.domain.clock_notes import warn_of_dst
from scheduler.domain.cron_days import warn_of_union
from scheduler.domain.dst import rules_of
from scheduler.domain.schedule import borders_of, instant_of
from scheduler.domain.watching import parts_of
from scheduler.domain.zones import zone
from scheduler.simulation.upcoming import Upcoming
from schemas.calendar_trigger import CalendarTrigger
from schemas.happening_trigger import EndedTrigger
from schemas.job_spec import JobSpec
from schemas.trigger_spec import AtTrigger, CronTrigger, TriggerSpec


@dataclass(frozen=True, slots=True)
class Loaded:
    """Valid definitions, and when they are looked at."""

    tenant: str
    entries: Mapping[str, Entry]
    now: datetime
    calendars: CalendarEntries

    def jobs(self) -> Iterator[tuple[Entry, JobSpec]]:
        """Yield each job; ``Entry.problem`` makes a warning that knows its line."""
        return ((entry, entry.spec) for entry in self.entries.values() if entry.spec is not None)

    def calendar_triggers(self) -> Iterator[tuple[Entry, JobSpec, int, CalendarTrigger]]:
        """Yield each calendar trigger with its job and its index."""
        for entry, spec in self.jobs():
            for index, trigger in enumerate(spec.triggers):
                if isinstance(trigger, CalendarTrigger):
                    yield entry, spec, index, trigger


def warn_of_day_fields(loaded: Loaded) -> Iterator[Problem]:
    """Both day fields restricted, and ``day_match`` not stated."""
    for entry, spec in loaded.jobs():
        for index, trigger in enumerate(spec.triggers):
            if not isinstance(trigger, CronTrigger):
                continue
            said = warn_of_union(
                trigger,
                timezone=spec.timezone_of(trigger),
                hash_key=f"{loaded.tenant}/{entry.name}",
                now=loaded.now,
            )
            if said is not None:
                yield entry.problem(("triggers", index, "cron"), said)


def warn_of_idle_rules(loaded: Loaded) -> Iterator[Problem]:
    """A trigger's own ``dst`` that its expression does not follow."""
    for entry, spec in loaded.jobs():
        for index, trigger in enumerate(spec.triggers):
            path = ("triggers", index, "dst")
            if isinstance(trigger, CronTrigger) and trigger.dst is not None and entry.states(path):
                said = warn_of_dst(trigger, trigger.dst, hash_key=f"{loaded.tenant}/{entry.name}")
                if said is not None:
                    yield entry.problem(path, said)


def warn_of_calendar_ends(loaded: Loaded) -> Iterator[Problem]:
    """The data of a calendar end soon, or have ended."""
    today = loaded.now.date()
    for name in loaded.calendars.specs:
        if (said := loaded.calendars.known[name].expiry(today)) is not None:
            yield loaded.calendars.problem(name, said)
    for entry, _, index, trigger in loaded.calendar_triggers():
        country = trigger.calendar.country
        if country is not None and (said := loaded.calendars.known[country].expiry(today)) is not None:
            yield entry.problem(("triggers", index, "calendar", "country"), said)


def warn_of_missing_calendars(loaded: Loaded) -> Iterator[Problem]:
    """Business days are counted, and no calendar says which days are holidays."""
    for entry, _, index, trigger in loaded.calendar_triggers():
        if trigger.calendar.counts_business_days and trigger.calendar.calendar_name is None:
            message = "names no calendar and no country: only Saturdays and Sundays are closed, holidays are not"
            yield entry.problem(("triggers", index, "calendar"), message)


def warn_of_the_past(loaded: Loaded) -> Iterator[Problem]:
    """All of ``at``, or ``ends_at``, is in the past."""
    for entry, spec in loaded.jobs():
        for index, trigger in enumerate(spec.triggers):
            tz = zone(spec.timezone_of(trigger))
            times = {"at": _listed(trigger, tz), "ends_at": [borders_of(trigger, tz)[1]]}
            for key, moments in times.items():
                known = [moment for moment in moments if moment is not None]
                if known and max(known) <= loaded.now:
                    yield entry.problem(("triggers", index, key), "is in the past: the trigger fires no more")


def _listed(trigger: TriggerSpec, tz: ZoneInfo) -> list[datetime | None]:
    if not isinstance(trigger, AtTrigger):
        return []
    rules = rules_of(trigger.dst)
    return [instant_of(moment, tz, rules, last=True) for moment in trigger.at]


def warn_of_same_instants(loaded: Loaded) -> Iterator[Problem]:
    """Two triggers of one job fire at the same instant."""
    upcoming = Upcoming(loaded.tenant, loaded.now, loaded.calendars.known)
    limit = limit_of([spec for _, spec in loaded.jobs()])
    for entry, spec in loaded.jobs():
        for index, said in find_same_instants(entry.name, spec, upcoming, limit):
            yield entry.problem(("triggers", index), said)


def warn_of_unknown_jobs(loaded: Loaded) -> Iterator[Problem]:
    """The end of a job is waited for that none of the files has; another file may."""
    for entry, spec in loaded.jobs():
        for index, trigger in enumerate(spec.triggers):
            for part, waits in parts_of(trigger):
                path: Path = ("triggers", index) if part is None else ("triggers", index, trigger.kind.value, part)
                if isinstance(waits, EndedTrigger) and "*" not in waits.ended.job:
                    name = waits.ended.job
                    if name == entry.name:
                        yield entry.problem((*path, "ended", "job"), "a trigger never fires for its own job")
                    elif name not in loaded.entries:
                        hint = suggest(name, [other for other in loaded.entries if other != entry.name])
                        yield entry.problem((*path, "ended", "job"), f"there is no job {name} in these files; {hint}")


FINDERS: Final[tuple[Callable[[Loaded], Iterable[Problem]], ...]] = (
    warn_of_day_fields,
    warn_of_idle_rules,
    warn_of_calendar_ends,
    warn_of_missing_calendars,
    warn_of_the_past,
    warn_of_same_instants,
    warn_of_unknown_jobs,
)


def find_warnings(loaded: Loaded) -> list[Problem]:
    """Return every warning about valid definitions."""
    return [warning for finder in FINDERS for warning in finder(loaded)]
