"""Text of a definitions file → plain values with the position of each. YAML 1.2 core or JSON.

The parser's events are read one by one and nothing recurses: PyYAML's own loaders crash the
process on deep nesting, keep the last of two equal keys and resolve words by YAML 1.1.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import yaml
from yaml.events import (
    AliasEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from scheduler.definitions.problems import Path, Place, Problem, show_path
from scheduler.definitions.yaml_scalars import ScalarError, resolve
from scheduler.definitions.yaml_syntax import explain_syntax

MAX_BYTES: Final = 1024 * 1024
MAX_DEPTH: Final = 64

_SURROGATES: Final = re.compile(r"(?<!\\)((?:\\\\)*)(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})")


@dataclass(slots=True)
class Document:
    """The value of one file, where its parts stand, and what is wrong with its text.

    ``value`` is made of dict, list, str, int, float, bool and None; it is None when the text
    could not be read to its end.
    """

    file: str
    value: Any = None
    values: dict[Path, Place] = field(default_factory=dict)
    keys: dict[Path, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def place_of(self, path: Path, *, key: bool = False) -> Place | None:
        """Return where the value at ``path`` (or its key) stands; None if it is not in the file."""
        return (self.keys.get(path) if key else None) or self.values.get(path)

    def nearest(self, path: Path, *, key: bool = False) -> Place:
        """Return where ``path`` stands, else where the innermost thing around it begins."""
        for length in range(len(path), 0, -1):
            place = self.place_of(path[:length], key=key or length < len(path))
            if place is not None:
                return place
        return Place()

    def report(self, place: Place, path: Path, message: str) -> None:
        self.problems.append(Problem(self.file, place, show_path(path), message))


class _StopError(Exception):
    """The file cannot be read any further; the problem is reported."""


def parse(data: bytes, file: str) -> Document:
    """Return what ``data`` says. Never raises: what is wrong is in ``problems``."""
    document = Document(file)
    try:
        text = _decode(data, document)
        _Builder(document).read(text)
    except _StopError:
        document.value = None
    return document


def _decode(data: bytes, document: Document) -> str:
    if len(data) > MAX_BYTES:
        document.report(Place(), (), f"more than {MAX_BYTES} bytes, which is the most that is read")
        raise _StopError
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line_start = data.rfind(b"\n", 0, error.start) + 1
        place = Place(data.count(b"\n", 0, error.start) + 1, error.start - line_start + 1)
        document.report(place, (), "not UTF-8; save the file in UTF-8")
        raise _StopError from None
    if "\0" in text:
        before = text[: text.index("\0")]
        place = Place(before.count("\n") + 1, len(before) - before.rfind("\n"))
        document.report(place, (), "contains the NUL character, which is not allowed")
        raise _StopError
    if document.file.endswith(".json"):  # YAML has no surrogate pairs
        text = _SURROGATES.sub(
            lambda m: m[1] + m[2].encode().decode("unicode-escape").encode("utf-16", "surrogatepass").decode("utf-16"),
            text,
        )
    return text


@dataclass(slots=True)
class _Level:
    """An open list or mapping; ``key`` is set while the value of a mapping's key is awaited."""

    container: dict[str, Any] | list[Any]
    path: Path
    key: str | None = None
    duplicate: bool = False


class _Builder:
    def __init__(self, document: Document) -> None:
        self.document = document
        self.levels: list[_Level] = []
        self.documents = 0

    def read(self, text: str) -> None:
        for event in self.events(text):
            mark = event.start_mark
            place = Place(mark.line + 1, mark.column + 1) if mark else Place()
            if isinstance(event, DocumentStartEvent):
                self.documents += 1
                if self.documents > 1:
                    self.stop(place, "a second document begins; one file holds one document")
            elif isinstance(event, NodeEvent):
                self.node(event, place)
            elif isinstance(event, MappingEndEvent | SequenceEndEvent):
                self.levels.pop()
        if not self.documents:
            self.stop(Place(), "is empty; a definitions file begins with version: 1")

    def events(self, text: str) -> Iterator[Event]:
        try:
            yield from yaml.parse(text, Loader=yaml.CSafeLoader)
        except yaml.YAMLError as error:
            line, column, message = explain_syntax(error, text)
            self.document.report(Place(line, column), ("syntax",), message)
            raise _StopError from None

    def node(self, event: NodeEvent, place: Place) -> None:
        path = self.next_path()
        if isinstance(event, AliasEvent):
            self.stop(place, f'aliases are not allowed; if text is meant, put it in quotes: "*{event.anchor}"', path)
        if event.anchor is not None:
            self.document.report(place, path, f"anchors are not allowed (&{event.anchor}); write the value out")
        if isinstance(event, ScalarEvent | CollectionStartEvent) and event.tag is not None:
            self.document.report(place, path, f"tags are not allowed ({event.tag})")
        if isinstance(event, ScalarEvent):
            self.scalar(event, path, place)
        elif isinstance(event, MappingStartEvent):
            self.open({}, path, place)
        elif isinstance(event, SequenceStartEvent):
            self.open([], path, place)

    def open(self, container: dict[str, Any] | list[Any], path: Path, place: Place) -> None:
        if self.awaits_key():
            self.stop(place, 'a key must be text; a template has to be put in quotes: "{{ … }}"', path)
        if len(self.levels) >= MAX_DEPTH:
            self.stop(place, f"nested deeper than {MAX_DEPTH}")
        self.put(container, path, place)
        self.levels.append(_Level(container, path))

    def scalar(self, event: ScalarEvent, path: Path, place: Place) -> None:
        if self.awaits_key():
            self.key(event.value, place)
            return
        value: Any = None
        try:
            value = resolve(event.value, plain=not event.style)
        except ScalarError as error:
            self.document.report(place, path, str(error))
        self.put(value, path, place)

    def key(self, key: str, place: Place) -> None:
        level = self.levels[-1]
        path = (*level.path, key)
        level.key = key
        level.duplicate = key in level.container
        try:
            resolve(key, plain=False)
        except ScalarError as error:
            self.document.report(place, path, str(error))
        if level.duplicate:
            first = self.document.keys[path].line
            self.document.report(place, path, f"the key is given twice, in line {first} and here in line {place.line}")
        else:
            self.document.keys[path] = place

    def put(self, value: Any, path: Path, place: Place) -> None:
        if not self.levels:
            self.document.value = value
            self.document.values[()] = place
            return
        level = self.levels[-1]
        if isinstance(level.container, list):
            level.container.append(value)
        elif level.key is not None and not level.duplicate:
            level.container[level.key] = value
        if not level.duplicate:
            self.document.values[path] = place
        level.key = None

    def next_path(self) -> Path:
        if not self.levels:
            return ()
        level = self.levels[-1]
        if isinstance(level.container, list):
            return (*level.path, len(level.container))
        return level.path if level.key is None else (*level.path, level.key)

    def awaits_key(self) -> bool:
        return bool(self.levels) and isinstance(self.levels[-1].container, dict) and self.levels[-1].key is None

    def stop(self, place: Place, message: str, path: Path = ()) -> None:
        self.document.report(place, path, message)
        raise _StopError
