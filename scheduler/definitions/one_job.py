"""One job given by itself, among those that are there: read and checked as in a file, by the same code."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from scheduler.definitions.load import load
from scheduler.definitions.problems import Place, Problem
from scheduler.definitions.yaml_source import Document
from schemas.calendar_spec import CalendarSpec
from schemas.job_spec import JobSpec

_FILE: Final = "body"
_STUB: Final = {"run": {"handler": "known"}}
"""Stands for a job that is there, so that others may need it."""


def load_job(
    name: str,
    given: Mapping[str, Any],
    *,
    known: frozenset[str],
    calendars: Mapping[str, CalendarSpec],
    settings: Mapping[str, Any],
    now: datetime | None = None,
) -> tuple[JobSpec, tuple[Problem, ...]]:
    """Return the job that ``given``, keys of a definitions file, says, and what is probably not meant.

    ``known`` are the jobs of its tenant, ``calendars`` theirs too, ``settings`` as for ``load``.

    Raises:
        DefinitionsError: with everything that is wrong.
    """
    needed = {job for need in _needs(given) if (job := need.get("job") if isinstance(need, dict) else need) in known}
    stubs = dict.fromkeys(sorted(needed - {name}), _STUB)
    rows = {key: spec.model_dump(mode="json", exclude_defaults=True) for key, spec in calendars.items()}
    document = Document(_FILE, {"version": 1, "calendars": rows, "jobs": {**stubs, name: dict(given)}})
    document.values = defaultdict(Place)
    loaded = load([], settings=settings, now=now, documents=[document])
    return loaded.jobs[name], tuple(said for said in loaded.warnings if f"{said.path}.".startswith(f"jobs.{name}."))


def _needs(given: Mapping[str, Any]) -> list[Any]:
    needs = given.get("needs")
    return [need for need in needs if isinstance(need, str | dict)] if isinstance(needs, list) else []
