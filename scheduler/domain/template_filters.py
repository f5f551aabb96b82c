"""The filters of templates: all there are, each linear in a bounded input."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from scheduler.domain.template_errors import TemplateError, UndefinedError
from scheduler.domain.template_values import bounded, dump_json, kind, number, plain, text, to_text

_MAX_NUMBER_CHARS: Final = 400


def _length(value: Any) -> int:
    if isinstance(value, str | list | tuple | Mapping):
        return len(value)
    raise TemplateError(f"length needs text, a list or a mapping, not {kind(value)}")


def _items(value: Any, name: str) -> list[Any] | tuple[Any, ...]:
    if isinstance(value, list | tuple):
        return value
    raise TemplateError(f"{name} needs a list, not {kind(value)}")


def _first(value: Any) -> Any:
    items = _items(value, "first")
    if not items:
        raise UndefinedError("first of an empty list is not defined")
    return plain(items[0])


def _last(value: Any) -> Any:
    items = _items(value, "last")
    if not items:
        raise UndefinedError("last of an empty list is not defined")
    return plain(items[-1])


def _join(value: Any, separator: Any = "") -> str:
    between = text(separator)
    pieces: list[str] = []
    size = 0
    for item in _items(value, "join"):
        pieces.append(to_text(item))
        size += len(pieces[-1]) + len(between)
        bounded(str, size)
    return between.join(pieces)


def _replace(value: Any, old: Any, new: Any) -> str:
    source, before, after = text(value), text(old), text(new)
    if not before:
        raise TemplateError("replace needs a text to look for")
    return bounded(
        lambda: source.replace(before, after), len(source) + source.count(before) * (len(after) - len(before))
    )


def _int(value: Any) -> int:
    try:
        if isinstance(value, str) and len(value) <= _MAX_NUMBER_CHARS:
            return int(value)
        return int(number(value))
    except (ValueError, OverflowError):
        raise TemplateError(f"{to_text(value)[:40]!r} is no whole number") from None


def _float(value: Any) -> float:
    try:
        result = float(value) if isinstance(value, str) and len(value) <= _MAX_NUMBER_CHARS else float(number(value))
    except (ValueError, OverflowError):
        raise TemplateError(f"{to_text(value)[:40]!r} is no number") from None
    plain(result)
    return result


def _round(value: Any, digits: Any = 0) -> float | int:
    if not isinstance(digits, int) or not 0 <= digits <= 15:  # noqa: PLR2004 - what a float can hold
        raise TemplateError("round takes 0 to 15 digits")
    exact = number(value)
    return round(exact, digits) if digits else round(exact)


FILTERS: Final[Mapping[str, tuple[Callable[..., Any], int, int]]] = {
    "count": (_length, 0, 0),
    "first": (_first, 0, 0),
    "float": (_float, 0, 0),
    "int": (_int, 0, 0),
    "join": (_join, 0, 1),
    "last": (_last, 0, 0),
    "length": (_length, 0, 0),
    "lower": (lambda value: text(value).lower(), 0, 0),
    "replace": (_replace, 2, 2),
    "round": (_round, 0, 1),
    "string": (to_text, 0, 0),
    "tojson": (dump_json, 0, 0),
    "trim": (lambda value: text(value).strip(), 0, 0),
    "upper": (lambda value: text(value).upper(), 0, 0),
}
"""Name → function, least and most arguments. ``default`` is not here: it must see what is undefined."""
