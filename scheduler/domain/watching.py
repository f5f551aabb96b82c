"""Whose ends somebody waits for: of all other jobs nobody has to be told, and nothing is written. Pure."""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from uuid import UUID

from scheduler.domain.gates import JobEntry
from schemas.event_trigger import EventTriggerModel
from schemas.happening_trigger import AllOfTrigger, AnyOfTrigger, EndedSpec, EndedTrigger, EndState
from schemas.trigger_model import TriggerModel


def parts_of(trigger: TriggerModel) -> Iterator[tuple[int | None, EventTriggerModel]]:
    """Yield what a trigger waits for: its parts, each with its place, or itself; nothing if it only knows the clock."""
    match trigger:
        case AllOfTrigger(all_of=parts) | AnyOfTrigger(any_of=parts):
            yield from enumerate(parts)
        case EventTriggerModel():
            yield None, trigger


@lru_cache(maxsize=4096)
def name_matches(pattern: str, name: str) -> bool:
    """Return whether ``name`` is ``pattern``, in which * stands for any characters."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name) is not None


def ends_as(wanted: EndState, state: str) -> bool:
    """Return whether the end ``state`` of a run is the one that is ``wanted``."""
    return wanted is EndState.FINISHED or wanted.value == state


class Watching:
    """Which ends of runs, of the jobs of one tenant, some trigger of another job waits for."""

    def __init__(self, entries: Iterable[JobEntry]) -> None:
        every = list(entries)
        names = {entry.name: entry for entry in every}
        self._wanted: dict[UUID, set[EndState]] = {}
        for spec, watchers in _watchers(every).items():
            found = [names[spec.job]] if spec.job in names else _matching(spec.job, names)
            for entry in found:
                if any(watcher != entry.id for watcher in watchers):
                    self._wanted.setdefault(entry.id, set()).add(spec.state)
        self.jobs = frozenset(self._wanted)
        """The jobs whose ends have to be looked at."""

    def wants(self, job_id: UUID, state: str) -> bool:
        """Return whether an end of a run is to be recorded as an event."""
        return any(ends_as(wanted, state) for wanted in self._wanted.get(job_id, ()))


def _watchers(entries: Iterable[JobEntry]) -> dict[EndedSpec, list[UUID]]:
    """Return by what is waited for at most two of the jobs that do: one of them is another than any job."""
    found: dict[EndedSpec, list[UUID]] = {}
    for entry in entries:
        for trigger in entry.spec.triggers:
            for _, part in parts_of(trigger) if trigger.enabled else ():
                if isinstance(part, EndedTrigger):
                    watchers = found.setdefault(part.ended, [])
                    if entry.id not in watchers and len(watchers) < 2:  # noqa: PLR2004 - see above
                        watchers.append(entry.id)
    return found


def _matching(pattern: str, names: Mapping[str, JobEntry]) -> list[JobEntry]:
    if "*" not in pattern:
        return []
    found = re.compile(".*".join(map(re.escape, pattern.split("*"))))
    return [entry for name, entry in names.items() if found.fullmatch(name)]
