"""JSON from strangers: read strictly, so that nobody reads the same bytes in another way."""

import json
from collections import Counter
from typing import Any, Final

from schemas.json_values import check_json

MAX_EVENT_BYTES: Final = 1024 * 1024
"""A longer event is not read."""
_WORDS: Final = {list: "array", str: "string", bool: "truth value", type(None): "null"}
_SHOWN: Final = 64


def read_json(body: bytes) -> Any:
    """Return the JSON value that ``body`` is.

    Raises:
        ValueError: one plain sentence: not UTF-8, not JSON, a name given twice in an object, nested too deeply, NUL,
            half of a surrogate pair, NaN or infinity, a number of too many digits.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from None
    try:
        value = _DECODER.decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at line {error.lineno} column {error.colno}") from None
    check_json(value)
    return value


def read_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object that ``body`` is.

    Raises:
        ValueError: as for ``read_json``; or it is longer than MAX_EVENT_BYTES, or no object.
    """
    if len(body) > MAX_EVENT_BYTES:
        raise ValueError(f"a body of {len(body)} bytes; at most {MAX_EVENT_BYTES} are read")
    value = read_json(body)
    if not isinstance(value, dict):
        raise ValueError(f"a JSON {_WORDS.get(type(value), 'number')}; an event is a JSON object")  # noqa: TRY004 - one class for the caller
    return value


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        (twice, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"the name {twice[:_SHOWN]!r} is given twice in one object")
    return found


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is no JSON value")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_once_each, parse_constant=_refuse)
