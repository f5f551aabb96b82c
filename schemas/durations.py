"""Spans of time as text: ``500ms 10s 5m 6h 2d 1h30m`` or ISO 8601, exact to the millisecond."""

import re
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from functools import lru_cache
from typing import Annotated, Final

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

MAX_DURATION: Final = timedelta(days=36_500)
"""Longer spans are refused: no date could be reached by adding them."""

_UNITS_MS: Final = {"w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
_WRITTEN: Final = ("d", "h", "m", "s", "ms")
_MAX_CHARS: Final = 64
_EXAMPLES: Final = "500ms, 10s, 5m, 6h, 2d or 1h30m"

_NUMBER: Final = r"([0-9]+(?:\.[0-9]+)?)"
_SHORT: Final = re.compile("".join(f"(?:{_NUMBER}{unit}(?![a-z]))?" for unit in _UNITS_MS))
_ISO: Final = re.compile(
    rf"P(?:{_NUMBER}W)?(?:{_NUMBER}D)?(?:T(?=[0-9])(?:{_NUMBER}H)?(?:{_NUMBER}M)?(?:{_NUMBER}S)?)?"
)
_ISO_CALENDAR: Final = re.compile(r"P(?=[0-9])(?:([0-9]{1,4})Y)?(?:([0-9]{1,4})M)?")
_MONTHS: Final = re.compile(r"([0-9]{1,4}) ?(month|year)s?")


@lru_cache(maxsize=4096)  # the same few spans stand in every definition, and a herd of them is read at once
def parse_duration(text: str) -> timedelta:
    """Return the span that ``text`` says; never negative, at most MAX_DURATION.

    Raises:
        ValueError: no unit, an unknown unit, units out of order, finer than a millisecond, too
            long, or a month or year, whose length is not fixed. The message is one plain sentence.
    """
    if re.fullmatch(r"-[0-9.]+[a-z]*", text):
        raise ValueError(f"{text[:_MAX_CHARS]} is negative; write for instance {_EXAMPLES}")
    if re.fullmatch(r"[0-9.]+", text):
        raise ValueError(f"{text} has no unit; write for instance {_EXAMPLES}")
    if len(text) <= _MAX_CHARS and (_MONTHS.fullmatch(text) or _ISO_CALENDAR.fullmatch(text)):
        raise ValueError(f"{text!r} has no fixed length; write days, as in 30d")
    match = None
    if 0 < len(text) <= _MAX_CHARS:
        match = _ISO.fullmatch(text) or _SHORT.fullmatch(text)
    if match is None or not any(match.groups()):
        raise ValueError(f"{text[:_MAX_CHARS]!r} is no duration; write for instance {_EXAMPLES}")
    parts = zip(match.groups(), _UNITS_MS.values(), strict=False)
    milliseconds = sum((Fraction(number) * factor for number, factor in parts if number), Fraction(0))
    if milliseconds.denominator != 1:
        raise ValueError(f"{text!r} is finer than a millisecond")
    if milliseconds > MAX_DURATION // timedelta(milliseconds=1):
        raise ValueError(f"{text!r} is longer than {MAX_DURATION.days}d")
    return timedelta(milliseconds=int(milliseconds))


def format_duration(span: timedelta) -> str:
    """Return the canonical text of ``span``, which parses back to it: ``1h30m``, ``0s``.

    Raises:
        ValueError: negative, or finer than a millisecond.
    """
    rest, finer = divmod(span, timedelta(milliseconds=1))
    if finer or rest < 0:
        raise ValueError(f"{span!r} cannot be written in whole milliseconds")
    parts = []
    for unit in _WRITTEN:
        number, rest = divmod(rest, _UNITS_MS[unit])
        if number:
            parts.append(f"{number}{unit}")
    return "".join(parts) or "0s"


@dataclass(frozen=True, slots=True)
class Interval:
    """The step of an ``every`` trigger: whole calendar months, or a span of fixed length.

    Exactly one of the two is not zero. Months keep the wall hour of the anchor.
    """

    months: int = 0
    span: timedelta = timedelta(0)

    def __str__(self) -> str:
        if self.months:
            return "1 month" if self.months == 1 else f"{self.months} months"
        return format_duration(self.span)


MIN_INTERVAL: Final = timedelta(milliseconds=100)
MAX_MONTHS: Final = 1200


def parse_interval(text: str) -> Interval:
    """Return the step that ``text`` says: a duration, ``2 months``, ``1 year``, ``P1M``.

    Raises:
        ValueError: as parse_duration; or the step is shorter than MIN_INTERVAL or too long.
    """
    months = 0
    if words := _MONTHS.fullmatch(text):
        months = int(words[1]) * (12 if words[2] == "year" else 1)
    elif iso := _ISO_CALENDAR.fullmatch(text):
        months = int(iso[1] or 0) * 12 + int(iso[2] or 0)
    else:
        span = parse_duration(text)
        if span < MIN_INTERVAL:
            raise ValueError(f"{text!r} is shorter than {format_duration(MIN_INTERVAL)}, the shortest interval")
        return Interval(span=span)
    if not 1 <= months <= MAX_MONTHS:
        raise ValueError(f"{text!r} is not within 1 to {MAX_MONTHS} months")
    return Interval(months=months)


def _duration_of(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, str):
        return parse_duration(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError(f"{value} has no unit; write for instance {_EXAMPLES}")  # noqa: TRY004 - pydantic wants it
    raise ValueError(f"must be a duration, for instance {_EXAMPLES}")


def _interval_of(value: object) -> Interval:
    if isinstance(value, Interval):
        return value
    return parse_interval(value) if isinstance(value, str) else Interval(span=_duration_of(value))


_SHORT_PATTERN: Final = "^([0-9]+(\\.[0-9]+)?(ms|s|m|h|d|w))+$|^P[0-9T]"

Duration = Annotated[
    timedelta,
    BeforeValidator(_duration_of),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": _SHORT_PATTERN, "examples": ["30s", "1h30m", "PT15M"]}),
]
"""A span in a model: read from text, written as canonical text in JSON."""

IntervalField = Annotated[
    Interval,
    BeforeValidator(_interval_of),
    PlainSerializer(str, return_type=str, when_used="json"),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": _SHORT_PATTERN + "|^[0-9]{1,4} ?(month|year)s?$",
            "examples": ["15m", "1 month"],
        }
    ),
]
