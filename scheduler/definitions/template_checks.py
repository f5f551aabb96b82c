"""Templates of a job whose names cannot be defined when it runs."""

from collections.abc import Callable, Collection, Iterator
from typing import Any

from scheduler.definitions.problems import Path, suggest
from scheduler.domain.template import TemplateError, names
from scheduler.domain.template_scope import RUN_NAMES, SCOPE_NAMES
from schemas.job_spec import JobSpec


def check_templates(spec: JobSpec, upstream: Callable[[], Collection[str]]) -> Iterator[tuple[Path, str]]:
    """Yield path and message for each template of ``spec`` that is wrong or names what cannot be.

    ``upstream`` returns the jobs it waits for, directly or not: those whose results it may see.
    A param that a person has to give is no problem in a job that nothing else starts.
    """
    for path, text in _texts(spec):
        in_params = path[0] in {"params", "triggers"}
        try:
            for name in sorted(names(text)):
                message = _undefined(name, spec, upstream, in_params=in_params)
                if message is not None:
                    yield path, f"{'.'.join(name)} is not defined; {message}"
        except TemplateError as error:
            yield path, str(error)


def _undefined(
    name: tuple[str, ...], spec: JobSpec, upstream: Callable[[], Collection[str]], *, in_params: bool
) -> str | None:
    allowed = [root for root in SCOPE_NAMES if not (in_params and root == "params")]
    match name:
        case (root, *_) if root not in allowed:
            return suggest(root, allowed)
        case ("run", field, *_) if field not in RUN_NAMES:
            return suggest(field, RUN_NAMES)
        case ("results", job, *_) if not any(need.job == job for need in spec.needs):
            above = upstream()
            if job in above:
                return None
            return suggest(job, sorted(above)) if above else "the job needs no other, so there are no results"
        case ("params", key, *_):
            return _missing_param(key, spec)
    return None


def _missing_param(key: str, spec: JobSpec) -> str | None:
    if key in spec.params or (not spec.triggers and not spec.needs):
        return None
    if spec.triggers and all(key in trigger.params for trigger in spec.triggers):
        return None
    return suggest(key, spec.params) if spec.params else "give it in params, or use the filter default"


def _texts(spec: JobSpec) -> Iterator[tuple[Path, str]]:
    run = spec.run
    yield from _strings(("run", "command"), run.command)
    if run.http is not None:
        yield from _strings(("run", "http", "url"), run.http.url)
        yield from _strings(("run", "http", "headers"), run.http.headers)
        yield from _strings(("run", "http", "json"), run.http.json_body)
        yield from _strings(("run", "http", "body"), run.http.body)
    yield from _strings(("env",), spec.env)
    yield from _strings(("params",), spec.params)
    for index, trigger in enumerate(spec.triggers):
        yield from _strings(("triggers", index, "params"), trigger.params)


def _strings(path: Path, value: Any) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        if "{{" in value:
            yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _strings((*path, key), item)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _strings((*path, index), item)
