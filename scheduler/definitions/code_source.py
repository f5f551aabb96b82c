"""A Python module with ``@job`` functions → the same Document that a definitions file gives."""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path as FilePath
from typing import Any, Final

from scheduler.code.importing import import_below
from scheduler.code.job import FileHead, JobMark, find_mark, jobs_among
from scheduler.definitions.problems import Path, Place
from scheduler.definitions.yaml_source import Document
from scheduler.errors import ConfigurationError
from schemas.durations import format_duration

SUFFIX: Final = ".py"
_PLACED: Final = re.compile(r"(?P<file>.*\.py):(?P<line>\d+): (?P<what>.*)", re.DOTALL)


def read_code(file: FilePath) -> Document:
    """Import ``file``, a module below its own folder, and return the jobs in it. Runs the user's code.

    Never raises: what is wrong is in ``problems``, each at the line of its function.
    """
    document = Document(str(file))
    try:
        module = import_below(str(file.resolve()), file.parent, what="jobs")
    except ConfigurationError as error:
        found = _PLACED.fullmatch(str(error))
        same = found is not None and found["file"] == str(file.resolve())
        place = Place(int(found["line"])) if found is not None and same else Place()
        document.report(place, (), found["what"] if found is not None and same else str(error))
        return document
    fill(document, vars(module).values(), module.__name__)
    return document


def fill(document: Document, values: Iterable[object], module: str) -> None:
    """Write the jobs among ``values``, the names of a module or functions of several, into an empty document."""
    values = list(values)
    heads = [value for value in values if isinstance(value, FileHead)]
    if len(heads) > 1:
        document.report(Place(), (), "file_keys is called twice; one says it all")
    document.value = {}
    for head in heads[:1]:
        _put(document, document.value, (), head.keys, Place())
    jobs: dict[str, Any] = {}
    document.value["jobs"] = jobs
    marks = jobs_among(values)
    if not marks:
        document.report(Place(), (), "there is no function decorated with @job")
    for mark in marks:
        _put_job(document, jobs, mark, module)


def handler_module(file: FilePath) -> bool:
    """Whether jobs of ``file``, read before, run in the executor itself, which must load it for that."""
    names = vars(import_below(str(file.resolve()), file.parent, what="jobs")) if file.suffix == SUFFIX else {}
    return any(mark.in_the_executor for mark in jobs_among(names.values()))


def _put_job(document: Document, jobs: dict[str, Any], mark: JobMark, module: str) -> None:
    place = Place(mark.line)
    path = ("jobs", mark.name)
    if mark.name in jobs:
        first = document.nearest(path).line
        document.report(place, path, f"the job is given twice, first in {document.file}:{first}")
        return
    where = mark.function.__module__
    where = FilePath(document.file).stem if where == module else where
    work = {"handler": mark.name} if mark.in_the_executor else {"python": f"{where}:{mark.function.__qualname__}"}
    first_line = (mark.function.__doc__ or "").strip().partition("\n")[0].strip()
    described = {"description": first_line} if first_line else {}
    triggers = {"triggers": list(mark.triggers)} if mark.triggers else {}
    _put(document, jobs, ("jobs",), {mark.name: {**described, "run": work, **triggers, **mark.keys}}, place)


def _put(document: Document, into: dict[str, Any], base: Path, values: Mapping[str, Any], place: Place) -> None:
    """Write plain forms of ``values`` into the document; everything in them stands at ``place``."""
    for key, value in values.items():
        into[key] = _plain(value)
        _place(document, (*base, key), into[key], place)


def _place(document: Document, path: Path, value: object, place: Place) -> None:
    document.values[path] = document.keys[path] = place
    if isinstance(value, dict):
        for key, item in value.items():
            _place(document, (*path, key), item, place)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _place(document, (*path, index), item, place)


def _plain(value: object) -> Any:
    """Return what a definitions file would say; what it could not say is left for validation to refuse."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, timedelta):
        return format_duration(value) if not value % timedelta(milliseconds=1) and value >= timedelta(0) else str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, type) and issubclass(value, BaseException):
        return value.__name__
    mark = find_mark(value)
    return value if mark is None else mark.name
