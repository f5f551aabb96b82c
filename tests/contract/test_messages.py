"""What is on the wire stays readable: golden files, round trips, and what a reader refuses."""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from schemas.facts import FiringDue
from schemas.message import Message
from schemas.messages_schema import messages_schema
from schemas.registry import MAX_BODY_BYTES, MESSAGES, UnreadableError, dump, parse, split
from schemas.work import WorkModel

GOLDEN = Path(__file__).parent / "golden"
SCHEMA = Path(__file__).parents[2] / "docs" / "messages.schema.json"
FIRING = {"type": "firing.due", "v": 1, "tenant": "default", "firing_id": "018f0000-0000-7000-8000-000000000001"}


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.stem)
def test_golden_message_is_read_and_written_as_ever(path: Path) -> None:
    """``<type>.v<n>[.<case>].json``, never edited: a change of meaning is a new version with files of its own."""
    body = json.loads(path.read_text(encoding="utf-8"))

    message = parse(body)

    assert re.fullmatch(rf"{re.escape(message.type)}\.v{message.version}(\.[a-z-]+)?", path.stem)
    assert body == json.loads(dump([message]))


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.type)
def test_every_message_has_a_golden_file(message: type[Message]) -> None:
    assert (GOLDEN / f"{message.type}.v{message.version}.json").exists()


def models_in(value: object) -> Iterator[BaseModel]:
    if isinstance(value, BaseModel):
        yield value
        value = vars(value)
    if isinstance(value, dict):
        value = value.values()
    if not isinstance(value, str) and isinstance(value, Iterable):
        for inner in value:
            yield from models_in(inner)


def test_golden_files_show_every_field() -> None:
    shown: dict[type[BaseModel], set[str]] = {model: set() for model in (*MESSAGES, *WorkModel.__subclasses__())}
    for path in GOLDEN.glob("*.json"):
        for model in models_in(parse(json.loads(path.read_text(encoding="utf-8")))):
            shown.setdefault(type(model), set()).update(model.model_fields_set)

    missing = {model.__name__: set(model.model_fields) - fields for model, fields in shown.items()}

    assert {} == {name: fields for name, fields in missing.items() if fields}


def test_type_and_version_are_unique_and_no_field_hides_them() -> None:
    assert len({(message.type, message.version) for message in MESSAGES}) == len(MESSAGES)
    assert [m for m in MESSAGES if {"type", "version", "v"} & m.model_fields.keys()] == []


def test_one_message_is_an_object_and_several_are_an_array() -> None:
    firing = parse(FIRING)

    assert split(dump([firing])) == [FIRING]
    assert json.loads(dump([firing])) == FIRING
    assert split(dump([firing, firing])) == [FIRING, FIRING]


def test_reader_ignores_fields_it_does_not_know_and_writer_refuses_them() -> None:
    assert parse({**FIRING, "new_in_a_later_release": 1}) == parse(FIRING)
    with pytest.raises(ValueError, match="Extra inputs are not permitted"):
        FiringDue(**{key: value for key, value in FIRING.items() if key not in {"type", "v"}}, new=1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b'{"a": NaN}', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "an empty array"),
        (b" " * (MAX_BODY_BYTES + 1), "at most"),
    ],
)
def test_body_that_is_no_json_is_refused_with_the_reason(body: bytes, reason: str) -> None:
    with pytest.raises(UnreadableError, match=reason):
        split(body)


@pytest.mark.parametrize(
    ("element", "reason"),
    [
        (7, "int, not an object"),
        ({}, "unknown type and version 'None'"),
        ({**FIRING, "v": 99}, "unknown type and version 'firing.due' v99"),
        ({**FIRING, "type": ["firing.due"]}, "unknown type"),
        ({**FIRING, "v": {}}, "unknown type"),
        ({**FIRING, "firing_id": "x"}, "firing_id"),
        ({**FIRING, "tenant": "../other"}, "tenant"),
        ({"type": "firing.due", "v": 1}, "Field required"),
    ],
)
def test_element_that_is_no_message_is_refused_with_the_reason(element: Any, reason: str) -> None:
    with pytest.raises(UnreadableError, match=reason):
        parse(element)


def test_published_schema_is_current() -> None:
    """docs/messages.schema.json is what the models say; written by: python -m schemas.messages_schema."""
    assert messages_schema() == json.loads(SCHEMA.read_text(encoding="utf-8"))
