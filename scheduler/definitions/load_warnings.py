"""What is allowed and probably not meant: found when valid definitions are loaded, said and not refused.

One function per kind of warning, each over all jobs, listed in FINDERS.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from scheduler.definitions.entries import Entry
from scheduler.definitions.problems import Problem
from scheduler.domain.cron_days import warn_of_union
from schemas.job_spec import JobSpec
from schemas.trigger_spec import CronTrigger


@dataclass(frozen=True, slots=True)
class Loaded:
    """Valid definitions, and when they are looked at."""

    tenant: str
    entries: Mapping[str, Entry]
    now: datetime

    def jobs(self) -> Iterator[tuple[Entry, JobSpec]]:
        """Yield each job; ``Entry.problem`` makes a warning that knows its line."""
        return ((entry, entry.spec) for entry in self.entries.values() if entry.spec is not None)


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


FINDERS: Final[tuple[Callable[[Loaded], Iterable[Problem]], ...]] = (warn_of_day_fields,)


def find_warnings(loaded: Loaded) -> list[Problem]:
    """Return every warning about valid definitions."""
    return [warning for finder in FINDERS for warning in finder(loaded)]
