"""What an unquoted word means: YAML 1.2 core, less what is read differently by different people."""

import re
from math import isfinite
from typing import Final

MAX_STRING_CHARS: Final = 64 * 1024
MAX_INTEGER: Final = 2**63 - 1

_WORDS: Final[dict[str, bool | None]] = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("null", "Null", "NULL", "~", "")),
}
_INTEGER: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_LEADING_ZERO: Final = re.compile(r"[-+]?0[0-9]+")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE: Final = re.compile(r"[-+]?(\.(inf|Inf|INF)|Infinity)|\.(nan|NaN|NAN)|NaN")
_UNREADABLE: Final = re.compile("[\0\ud800-\udfff]")
_MAX_DIGITS: Final = 40


class ScalarError(Exception):
    """The word is refused; the text says why, in one plain sentence."""


def resolve(text: str, *, plain: bool) -> str | int | float | bool | None:
    """Return the value of a scalar; ``plain`` says that it stood without quotes.

    ``NO``, ``on``, ``12:30`` and ``2026-01-01`` are text. ``NaN`` and ``Infinity`` are refused like
    ``.nan`` and ``.inf``: lax JSON writers mean numbers by them.

    Raises:
        ScalarError: NaN or infinity, a number with a leading zero or beyond 64 bits, text with NUL
            or half a surrogate pair, or longer than MAX_STRING_CHARS.
    """
    if _UNREADABLE.search(text):
        raise ScalarError("contains NUL or half of a surrogate pair, which is not allowed")
    if len(text) > MAX_STRING_CHARS:
        raise ScalarError(f"{len(text)} characters, at most {MAX_STRING_CHARS} are allowed")
    if not plain:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return _integer(text)
    if _FLOAT.fullmatch(text):
        number = float(text)
        if not isfinite(number):
            raise ScalarError(f"the number {text[:_MAX_DIGITS]} is too large")
        return number
    if _NOT_FINITE.fullmatch(text):
        raise ScalarError(f"{text} is no number that can be stored; put it in quotes if text is meant")
    return text


def _integer(text: str) -> int:
    if _LEADING_ZERO.fullmatch(text):
        raise ScalarError(f"{text[:_MAX_DIGITS]} has a leading zero; put it in quotes if text is meant")
    number = int(text, 0) if len(text) <= _MAX_DIGITS else MAX_INTEGER + 1
    if abs(number) > MAX_INTEGER:
        raise ScalarError("a number beyond 64 bits; put it in quotes if text is meant")
    return number
