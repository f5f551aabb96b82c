"""Templates of a job whose names cannot be defined when it runs."""

from collections.abc import Iterator
from typing import Any, Final

from scheduler.definitions.problems import Path, suggest
from scheduler.domain.template import TemplateError, names
from scheduler.domain.template_scope import EVENT, EVENT_NAMES, RUN_NAMES, SCOPE_NAMES, SECRETS
from schemas.event_trigger import EventTriggerModel
from schemas.job_spec import JobSpec

_HIDDEN: Final[dict[str, frozenset[str]]] = {
    "params": frozenset({"params"}),
    "concurrency": frozenset({"results", EVENT}),
    "unique": frozenset({"results", EVENT}),
    "triggers": frozenset({"params", "results"}),
}
"""What the templates below a key cannot see."""


def check_templates(spec: JobSpec) -> Iterator[tuple[Path, str]]:
    """Yield path and message for each template of ``spec`` that is wrong or names what cannot be.

    A job sees the results of the jobs in its own ``needs``. The params of a trigger are filled when
    it fires: nothing has ended then. A param that a person has to give is no problem in a job that nothing else starts.
    """
    for path, text in _texts(spec):
        hidden = _HIDDEN.get(str(path[0]), frozenset())
        waits = _waits_for_events(path, spec)
        hidden |= frozenset() if waits else {EVENT}
        in_http = path[:2] == ("run", "http")
        try:
            for name in sorted(names(text)):
                message = _secret(name, spec, in_http=in_http) or _event(name, hidden) or _undefined(name, spec, hidden)
                if path[0] == "triggers" and waits and name[:2] == ("run", "id"):
                    message = "the run has no id yet when an event is read"
                if message is not None:
                    yield path, f"{'.'.join(name)} is not defined; {message}"
        except TemplateError as error:
            yield path, str(error)


def _waits_for_events(path: Path, spec: JobSpec) -> bool:
    """Whether there may be an event where a template stands: of its trigger, of any, or of what it needs."""
    if path[0] == "triggers" and isinstance(path[1], int):
        return isinstance(spec.triggers[path[1]], EventTriggerModel)
    return bool(spec.needs) or any(isinstance(trigger, EventTriggerModel) for trigger in spec.triggers)


def _secret(name: tuple[str, ...], spec: JobSpec, *, in_http: bool) -> str | None:
    match name:
        case ("secrets", *_) if not in_http:
            return "a secret is filled in http only; other runs find it in their environment"
        case ("secrets", secret) if secret not in spec.secrets:
            return suggest(secret, spec.secrets) if spec.secrets else "the job has no secrets"
        case ("secrets",) | ("secrets", _, _, *_):
            return "write secrets and the name of one"
    return None


def _undefined(name: tuple[str, ...], spec: JobSpec, hidden: frozenset[str]) -> str | None:
    if name[0] in {SECRETS, EVENT}:
        return None
    allowed = [root for root in SCOPE_NAMES if root not in hidden]
    match name:
        case (root, *_) if root not in allowed:
            return suggest(root, allowed)
        case ("run", field, *_) if field not in RUN_NAMES:
            return suggest(field, RUN_NAMES)
        case ("results", job, *_) if not any(need.job == job for need in spec.needs):
            needs = sorted(need.job for need in spec.needs)
            return suggest(job, needs) if needs else "the job needs no other, so there are no results"
        case ("params", key, *_):
            return _missing_param(key, spec)
    return None


def _event(name: tuple[str, ...], hidden: frozenset[str]) -> str | None:
    if name[0] != EVENT:
        return None
    if EVENT in hidden:
        return "there is one in flows that an event starts, and this can be in none of them"
    known = len(name) == 1 or name[1] in EVENT_NAMES
    return None if known else suggest(name[1], EVENT_NAMES)


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
    if run.publish is not None:
        yield from _strings(("run", "publish", "routing_key"), run.publish.routing_key)
        yield from _strings(("run", "publish", "json"), run.publish.json_body)
        yield from _strings(("run", "publish", "text"), run.publish.text)
        yield from _strings(("run", "publish", "headers"), run.publish.headers)
    yield from _strings(("env",), spec.env)
    yield from _strings(("params",), spec.params)
    if spec.unique is not None:
        yield from _strings(("unique", "key"), spec.unique.key)
    if spec.concurrency is not None:
        yield from _strings(("concurrency", "key"), spec.concurrency.key)
    for index, trigger in enumerate(spec.triggers):
        yield from _strings(("triggers", index, "params"), trigger.params)
        if isinstance(trigger, EventTriggerModel) and trigger.by is not None:
            yield from _strings(("triggers", index, "by"), trigger.by)


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
