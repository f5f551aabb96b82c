"""Pydantic's complaints about a job or a file, in plain words and with what is allowed."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from scheduler.definitions.problems import Path, suggest
from scheduler.domain.calendar_countries import country_meant
from schemas.calendar_spec import CalendarSpec
from schemas.calendar_trigger import CalendarRule, CalendarTrigger
from schemas.definitions_file import PoolSpec
from schemas.event_trigger import CollectSpec, EventTrigger, FileSpec, FileTrigger, TopicSpec, WebhookTrigger
from schemas.happening_trigger import (
    AllOfTrigger,
    AnyOfTrigger,
    EndedSpec,
    EndedTrigger,
    MissingSpec,
    MissingTrigger,
    SystemSpec,
    SystemTrigger,
)
from schemas.job_spec import (
    AtTrigger,
    CatchUpSpec,
    CronTrigger,
    DstSpec,
    EveryTrigger,
    HttpSpec,
    NeedSpec,
    ResourcesSpec,
    RetrySpec,
    RunSpec,
    ScriptSpec,
    TimeoutSpec,
)
from schemas.retention_spec import RetentionSpec
from schemas.run_spec import BreakerSpec, PublishSpec
from schemas.trigger_spec import TRIGGER_KINDS
from schemas.webhook_spec import WebhookSpec
from schemas.work import SecretRef

_MAX_SHOWN: Final = 40

_LATER_KEYS: Final[Mapping[type[BaseModel], frozenset[str]]] = {
    RunSpec: frozenset({"shell"}),
}
_NOT_SUPPORTED: Final = "is not supported by this version"

_TRIGGERS: Final[Mapping[str, type[BaseModel]]] = {
    "cron": CronTrigger,
    "every": EveryTrigger,
    "at": AtTrigger,
    "calendar": CalendarTrigger,
    "event": EventTrigger,
    "webhook": WebhookTrigger,
    "file": FileTrigger,
    "ended": EndedTrigger,
    "system": SystemTrigger,
    "missing": MissingTrigger,
    "all_of": AllOfTrigger,
    "any_of": AnyOfTrigger,
}
_PARTS: Final[Mapping[tuple[str, ...], type[BaseModel]]] = {
    ("run",): RunSpec,
    ("run", "script"): ScriptSpec,
    ("run", "http"): HttpSpec,
    ("run", "http", "breaker"): BreakerSpec,
    ("run", "publish"): PublishSpec,
    ("catch_up",): CatchUpSpec,
    ("dst",): DstSpec,
    ("timeout",): TimeoutSpec,
    ("retry",): RetrySpec,
    ("resources",): ResourcesSpec,
    ("retention",): RetentionSpec,
    ("needs", "*"): NeedSpec,
    ("secrets", "*"): SecretRef,
    ("pools", "*"): PoolSpec,
    ("calendars", "*"): CalendarSpec,
    ("webhooks", "*"): WebhookSpec,
    ("webhooks", "*", "secrets", "*"): SecretRef,
    ("triggers", "*", "*", "catch_up"): CatchUpSpec,
    ("triggers", "*", "*", "calendar"): CalendarRule,
    ("triggers", "*", "*", "dst"): DstSpec,
    ("triggers", "*", "*", "event"): TopicSpec,
    ("triggers", "*", "*", "file"): FileSpec,
    ("triggers", "*", "*", "ended"): EndedSpec,
    ("triggers", "*", "*", "system"): SystemSpec,
    ("triggers", "*", "*", "missing"): MissingSpec,
    ("triggers", "*", "*", "missing", "ended"): EndedSpec,
    ("triggers", "*", "*", "collect"): CollectSpec,
}

_MESSAGES: Final[Mapping[str, str]] = {
    "missing": "is missing",
    "model_type": "must be a mapping",
    "dict_type": "must be a mapping",
    "tuple_type": "must be a list",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
}
_COUNTRY: Final = "^[A-Z]{2}"
_MEMBER: Final = "^([a-z0-9]"
_PATTERNS: Final[Mapping[str, str]] = {
    "^[a-z0-9][a-z0-9_-]": "must be a name: a-z, 0-9, _ and -, not beginning with _ or -, at most 63 characters",
    _MEMBER: "must be the name of a calendar, or a country such as JP or US-CA",
    _COUNTRY: "must be an ISO 3166 code in capital letters, such as JP, US-CA or DE-BY",
    "^[A-Za-z0-9]{": "must be the code of a state or province, such as CA",
    "^[A-Za-z_]": "must be the name of an environment variable: letters, digits and _, not beginning with a digit",
    "^[A-Za-z0-9][A-Za-z0-9._": "must be a label: letters, digits, . _ and -, in the key also /, at most 63 characters",
    "^[A-Za-z0-9_]": "must be the name of a handler: letters, digits, _, . and -, at most 128 characters",
}


@dataclass(frozen=True, slots=True)
class Complaint:
    """What is wrong at ``path``, counted from the validated value; ``on_key``: it is the key itself."""

    path: Path
    message: str
    on_key: bool = False
    allowed: tuple[str, ...] = ()
    """The words that may stand there, where it is a choice of words."""


def explain(error: ValidationError, root: type[BaseModel]) -> Iterator[Complaint]:
    """Yield what ``error`` says about a value read as ``root`` (JobSpec or DefinitionsFile)."""
    details = error.errors(include_url=False)
    for detail in details:
        loc = detail["loc"]
        if detail["type"] == "too_short" and any(_is_within(other["loc"], loc) for other in details):
            continue  # pydantic counts only the elements that are right
        path = _without_tags(loc)
        match detail["type"]:
            case "extra_forbidden":
                model = _model_at(root, loc[:-1])
                message = _unknown_key(str(loc[-1]), model)
                yield Complaint(path, message, on_key=True, allowed=tuple(_keys_of(model)))
            case "trigger_kind":
                yield _unknown_trigger(path, detail["input"])
            case "value_error":
                yield Complaint(path, str(detail["ctx"]["error"]))
            case "enum" | "literal_error":
                words = _words_of(detail)
                yield Complaint(path, _unknown_value(detail["input"], words), allowed=words)
            case _:
                on_key = bool(loc) and loc[-1] == "[key]"
                yield Complaint(path[:-1] if on_key else path, _message(detail, on_key=on_key), on_key)


def _is_within(loc: Path, outer: Path) -> bool:
    return len(loc) > len(outer) and loc[: len(outer)] == outer


def _without_tags(loc: Path) -> Path:
    """Drop the words by which pydantic says which kind of trigger it took, and of a part of it."""
    tagged = len(loc) > 2 and loc[0] == "triggers" and loc[2] in TRIGGER_KINDS  # noqa: PLR2004
    if not tagged:
        return loc
    of_part = len(loc) > _PART_TAG and loc[2] in _COMPOSITES
    return (*loc[:2], *loc[3:_PART_TAG], *loc[_PART_TAG + of_part :])


def _model_at(root: type[BaseModel], loc: Path) -> type[BaseModel]:
    if not loc:
        return root
    if loc[0] == "triggers" and len(loc) > _PART_TAG and loc[2] in _COMPOSITES:
        loc = (*loc[:2], *loc[_PART_TAG:])
    if loc[0] == "triggers" and len(loc) == 3:  # noqa: PLR2004 - triggers, number, kind
        return _TRIGGERS[str(loc[2])]
    wild = {"triggers": {1, 2}, "webhooks": {1, 3}}.get(str(loc[0]), {1} if loc[0] in _WILD else set())
    pattern = tuple("*" if index in wild else str(part)
                    for index, part in enumerate(loc))  # fmt: skip
    return _PARTS[pattern]


_COMPOSITES: Final = frozenset({"all_of", "any_of"})
_PART_TAG: Final = 5
"""Where the kind of a part stands: triggers, number, all_of, all_of, number, kind."""
_WILD: Final = frozenset({"needs", "secrets", "pools", "calendars"})


def _unknown_key(key: str, model: type[BaseModel]) -> str:
    if key in _LATER_KEYS.get(model, ()):
        return _NOT_SUPPORTED
    return f"unknown key; {suggest(key, _keys_of(model))}"


def _keys_of(model: type[BaseModel]) -> list[str]:
    return [info.alias or name for name, info in model.model_fields.items()]


def _unknown_trigger(path: Path, value: Any) -> Complaint:
    kinds = f"a trigger has one of the keys {', '.join(TRIGGER_KINDS)}"
    if not isinstance(value, dict):
        return Complaint(path, f"must be a mapping: {kinds}{_found(value)}")
    shared = set(_keys_of(CronTrigger)) | set(_keys_of(EventTrigger)) | {"within"}
    unknown = [key for key in value if key not in shared]
    if unknown:
        message = f"unknown key; {suggest(unknown[0], TRIGGER_KINDS)}"
        return Complaint((*path, unknown[0]), message, on_key=True, allowed=tuple(TRIGGER_KINDS))
    return Complaint(path, f"has no kind; {kinds}", allowed=tuple(TRIGGER_KINDS))


def _words_of(detail: ErrorDetails) -> tuple[str, ...]:
    return tuple(word.strip("'") for word in detail["ctx"]["expected"].replace(" or ", ", ").split(", "))


def _unknown_value(value: Any, words: Sequence[str]) -> str:
    allowed = f"allowed: {', '.join(words)}"
    known = suggest(value, words) if isinstance(value, str) else allowed
    return f"{_shown(value)} is not known; {known}" if value is not None else f"is empty; {allowed}"


def _message(detail: ErrorDetails, *, on_key: bool) -> str:
    if detail["type"] == "string_pattern_mismatch":
        pattern = detail["ctx"]["pattern"]
        message = next(text for start, text in _PATTERNS.items() if pattern.startswith(start))
        if pattern.startswith((_COUNTRY, _MEMBER)) and (meant := country_meant(detail["input"])) is not None:
            return f"{message}{_found(detail['input'])}; did you mean {meant}?"
    elif detail["type"] == "too_short" and isinstance(detail["input"], str):
        message = _MESSAGES["string_too_short"]
    elif detail["type"] in _MESSAGES:
        message = _MESSAGES[detail["type"]].format_map(detail.get("ctx", {}))
    else:
        message = detail["msg"][:1].lower() + detail["msg"][1:]
    return message if on_key or detail["type"] == "missing" else message + _found(detail["input"])


def _found(value: Any) -> str:
    if value is None:
        return ", found nothing"
    if isinstance(value, dict | BaseModel):
        return ", found a mapping"
    return ", found a list" if isinstance(value, list | tuple) else f", found {_shown(value)}"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"
