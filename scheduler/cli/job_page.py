"""The page of one job: its whole definition in words, its triggers, its last runs."""

import shlex
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from scheduler.cli.output import cell, print_fields, print_line, print_rows
from schemas.job_spec import JobSpec

if TYPE_CHECKING:
    from scheduler.store.reading import Row

_ELSEWHERE: Final = frozenset({"triggers", "enabled", "description"})
_OF_TRIGGERS: Final = ("trigger", "when", "timezone", "active", "next_at", "fired", "trouble")
_OF_RUNS: Final = ("id", "state", "attempt", "fired_at", "finished_at", "reason")


def print_job(job: "Row", *, state: str) -> None:
    """Print what ``get_job`` returned, with ``runs`` beside it."""
    spec = JobSpec.model_validate(job["spec"]).model_dump(mode="json")  # in the order of the definitions file
    print_fields(
        {
            "name": job["name"],
            "state": state,
            "paused_at": job["paused_at"],
            "paused_by": job["paused_by"],
            "pause_note": job["pause_note"],
            "description": job["description"],
            "version": job["version"],
            "updated_at": job["updated_at"],
            "source": job["source"],
        }
        | {key: _WRITERS.get(key, in_words)(value) for key, value in spec.items() if key not in _ELSEWHERE}
    )
    print_line("")
    rows = [row | {"trigger": row["key"], "when": _when(row), "timezone": _zone(row, spec)} for row in job["triggers"]]
    print_rows(rows, _OF_TRIGGERS, empty="no triggers: it starts by hand, or by what it needs")
    print_rows(job["runs"], _OF_RUNS, empty="no runs yet")


def in_words(value: object) -> str:
    """Return a value of a definition on one line: names and values, what is empty left out."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {in_words(inner)}" for key, inner in value.items() if inner not in (None, {}, []))
    if isinstance(value, list):
        return ", ".join(map(in_words, value))
    return f"{value:g}" if isinstance(value, float) else cell(value)


def _run(run: Mapping[str, Any]) -> str:
    (kind, what), *rest = [(key, value) for key, value in run.items() if value is not None]
    text = shlex.join(what) if isinstance(what, list) else in_words(what)
    return f"{kind}: {text}" + (f", {in_words(dict(rest))}" if rest else "")


def _needs(needs: list[Mapping[str, Any]]) -> str:
    return ", ".join(
        f"{need['job']} {need['when']}"
        + (f" and {need['delay']} later" if need.get("delay") not in {None, "0s"} else "")
        for need in needs
    )


_WRITERS: Final[Mapping[str, Callable[[Any], str]]] = {"run": _run, "needs": _needs}


def _when(trigger: "Row") -> str:
    spec: Mapping[str, Any] = trigger["spec"]
    rest = {
        key: value
        for key, value in spec.items()
        if key not in {trigger["kind"], "id", "timezone", "enabled"} and value is not False
    }
    more = in_words(rest)
    return f"{trigger['kind']} {in_words(spec[trigger['kind']])}" + (f", {more}" if more else "")


def _zone(trigger: "Row", spec: Mapping[str, Any]) -> str:
    return str(trigger["spec"].get("timezone") or spec.get("timezone", "UTC"))
