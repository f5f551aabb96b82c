"""The values of templates: JSON's, and nothing that could hide behaviour."""

import json
import math
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from scheduler.domain.template_errors import TemplateError


class SecretMark(str):
    """Stands for a secret, whose value only an executor knows: text that must arrive as it is."""

    __slots__ = ()


MAX_TEXT_CHARS: Final = 64 * 1024
"""No expression makes a longer text on its way."""


def plain(value: Any) -> Any:
    """Return ``value`` as JSON knows it: instants and ids become text.

    Raises:
        TemplateError: it is something else, or a number that JSON lacks.
    """
    if type(value) is str:  # the usual case, many times a run
        return value
    if value is None or isinstance(value, str | bool | int | dict | list | tuple | Mapping):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TemplateError("a number became infinite or undefined")
        return value
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, UUID):
        return str(value)
    raise TemplateError(f"a template cannot use a value of type {type(value).__name__}")


def measure(value: Any, budget: int) -> int:
    """Return what is left of ``budget`` characters after ``value``, each item counted as two at least.

    Raises:
        TemplateError: nothing is left. The walk stops there, however large the value is.
    """
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, str):
            budget -= len(item)
        elif isinstance(item, Mapping):
            budget -= 2 + len(item)
            todo.extend(item)
            todo.extend(item.values())
        elif isinstance(item, list | tuple):
            budget -= 2 + len(item)
            todo.extend(item)
        else:
            budget -= 2
        if budget < 0:
            raise TemplateError(f"a template gives more than {MAX_TEXT_CHARS} characters")
    return budget


def to_text(value: Any, budget: int = MAX_TEXT_CHARS) -> str:
    """Return ``value`` as it stands in text: null is nothing, true and false are words, the rest JSON.

    Raises:
        TemplateError: longer than ``budget``, or it has no text.
    """
    value = plain(value)
    measure(value, budget)
    if value is None:
        return ""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return dump_json(value)


def dump_json(value: Any) -> str:
    """Return compact JSON of ``value``.

    Raises:
        TemplateError: too long, too deep, or not JSON.
    """
    value = plain(value)
    measure(value, MAX_TEXT_CHARS)
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=_json_default)
    except (TypeError, ValueError, RecursionError) as error:
        raise TemplateError(f"a value cannot be written as JSON: {error}") from None


def _json_default(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else plain(value)


def number(value: Any) -> int | float:
    """Return ``value`` if it is a number (true and false are not).

    Raises:
        TemplateError: it is none.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    raise TemplateError(f"a number is needed here, not {kind(value)}; text is joined with ~")


def text(value: Any) -> str:
    """Return ``value`` if it is text or a number as text.

    Raises:
        TemplateError: it is something else.
    """
    if isinstance(value, Mapping | list | tuple) or value is None:
        raise TemplateError(f"text is needed here, not {kind(value)}")
    if isinstance(value, SecretMark):
        raise TemplateError("a secret is put in as it is: its value is not known here")
    return to_text(value)


def kind(value: Any) -> str:
    """Return the word for the type of ``value`` that people know."""
    words: tuple[tuple[Any, str], ...] = (
        (bool, "true or false"),
        (int | float, "a number"),
        (str, "text"),
        (Mapping, "a mapping"),
        (list | tuple, "a list"),
    )
    return next((word for types, word in words if isinstance(value, types)), "nothing")


def bounded(build: Callable[[], str], size: int) -> str:
    """Return what ``build`` makes, which will have ``size`` characters, unless that is too many.

    Raises:
        TemplateError: above MAX_TEXT_CHARS; nothing is built.
    """
    if size > MAX_TEXT_CHARS:
        raise TemplateError(f"a template gives more than {MAX_TEXT_CHARS} characters")
    return build()
