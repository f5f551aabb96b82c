"""One job of one file: its merged keys, and where each of them stands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError

from scheduler.definitions.explain import Complaint, explain
from scheduler.definitions.problems import Path, Problem, show_path
from scheduler.definitions.yaml_source import Document
from schemas.job_spec import JobSpec

_LISTS: Final = ("triggers", "needs")
"""Keys whose good elements are still looked at when others are wrong."""


@dataclass(slots=True)
class Entry:
    """A job as a file gives it.

    When some keys are wrong, ``spec`` is what the others say, only to look for more problems in;
    it is None when not even that can be had.
    """

    name: str
    document: Document
    spec: JobSpec | None = None
    kept: dict[str, list[int]] = field(default_factory=dict)
    """For a list some elements of which were wrong: the indexes in the file of those left in ``spec``."""

    @property
    def path(self) -> Path:
        return ("jobs", self.name)

    def problem(self, path: Path, message: str, *, key: bool = False, allowed: tuple[str, ...] = ()) -> Problem:
        """Return a problem at ``path`` of this job's text, placed in the job, else in the file's defaults."""
        for length in range(len(path), 0, -1):
            for base in (self.path, ("defaults",)):
                full = (*base, *path[:length])
                place = self.document.place_of(full, key=key and length == len(path))
                if place is not None:
                    return Problem(self.document.file, place, show_path((*base, *path)), message, allowed)
        place = self.document.nearest(self.path, key=True)
        return Problem(self.document.file, place, show_path((*self.path, *path)), message, allowed)

    def states(self, path: Path) -> bool:
        """Whether the file itself says something at ``path`` of this job, or in its defaults."""
        return any(self.document.place_of((*base, *path)) is not None for base in (self.path, ("defaults",)))

    def spec_problem(self, path: Path, message: str) -> Problem:
        """Return a problem at ``path`` of ``spec``, which may have fewer list elements than the text."""
        if len(path) > 1 and isinstance(path[1], int) and path[0] in self.kept:
            path = (path[0], self.kept[str(path[0])][path[1]], *path[2:])
        return self.problem(path, message)


def read_entry(name: str, document: Document, settings: Mapping[str, Any]) -> tuple[Entry, list[Problem]]:
    """Return job ``name`` of ``document`` over the file's defaults over ``settings``, and what is wrong."""
    entry = Entry(name, document)
    raw = document.value["jobs"][name]
    if not isinstance(raw, dict):
        return entry, [entry.problem((), "must be a mapping with the keys of a job, run at least")]
    defaults = document.value.get("defaults")
    merged = _spread(settings)
    if isinstance(defaults, dict):
        merged = merge(merged, _spread(defaults, document, ("defaults",)))
    merged = merge(merged, _spread(raw, document, entry.path))
    merged = _triggers_inherit(merged)
    try:
        entry.spec = JobSpec.model_validate(merged)
    except ValidationError as error:
        complaints = list(explain(error, JobSpec))
        _salvage(entry, merged, complaints)
        return entry, [entry.problem(c.path, c.message, key=c.on_key, allowed=c.allowed) for c in complaints]
    return entry, []


def _salvage(entry: Entry, merged: Mapping[str, Any], complaints: Sequence[Complaint]) -> None:
    """Read the job without what is complained about."""
    good = dict(merged)
    for key in {complaint.path[0] for complaint in complaints if complaint.path}:
        bad = {c.path[1] if len(c.path) > 1 else None for c in complaints if c.path and c.path[0] == key}
        if key in _LISTS and None not in bad:
            entry.kept[str(key)] = [index for index in range(len(good[str(key)])) if index not in bad]
            good[str(key)] = [good[str(key)][index] for index in entry.kept[str(key)]]
        else:
            good.pop(str(key), None)
    good.setdefault("run", {"handler": "unreadable"})
    try:
        entry.spec = JobSpec.model_validate(good)
    except ValidationError:
        entry.spec = None


def merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``over`` laid upon ``under``: mappings deep, everything else replaced."""
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(value, dict) and isinstance(below, dict) else value
    return merged


def _spread(raw: Mapping[str, Any], document: Document | None = None, base: Path = ()) -> dict[str, Any]:
    """Write ``timeout: 5m`` as ``timeout: {hard: 5m}``, so that it merges with the other limits."""
    timeout = raw.get("timeout")
    if "timeout" not in raw or isinstance(timeout, dict):
        return dict(raw)
    if document is not None:
        place = document.values[(*base, "timeout")]
        document.values[(*base, "timeout", "hard")] = place
    return {**raw, "timeout": {"hard": timeout}}


def _triggers_inherit(merged: dict[str, Any]) -> dict[str, Any]:
    """Lay the ``catch_up`` that a trigger gives upon the job's."""
    below, triggers = merged.get("catch_up"), merged.get("triggers")
    if not isinstance(below, dict) or not isinstance(triggers, list):
        return merged
    laid = [
        {**trigger, "catch_up": merge(below, trigger["catch_up"])}
        if isinstance(trigger, dict) and isinstance(trigger.get("catch_up"), dict)
        else trigger
        for trigger in triggers
    ]
    return {**merged, "triggers": laid}
