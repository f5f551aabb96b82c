"""Amounts of bytes and shares of the CPU as text: ``512MiB``, ``50%``."""

import re
from typing import Annotated, Final

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

MAX_SIZE: Final = 1024**5
_UNITS: Final = {
    "B": 1,
    "kB": 1000,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "TB": 1000**4,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
    "TiB": 1024**4,
}
_WRITTEN: Final = ("TiB", "GiB", "MiB", "KiB", "B")
_PATTERN: Final = rf"([0-9]{{1,15}}) ?({'|'.join(_UNITS)})"
_PERCENT: Final = r"([0-9]{1,6}(?:\.[0-9]{1,2})?)(%?)"
_LEAST_CPU: Final = 0.01
_MOST_CPU: Final = 4096.0


def parse_size(text: str) -> int:
    """Return the bytes that ``text`` says, as in ``512MiB`` or ``2 GB`` (powers of 1000).

    Raises:
        ValueError: no unit, an unknown unit, or more than 1024 TiB.
    """
    match = re.fullmatch(_PATTERN, text)
    if match is None:
        raise ValueError(f"{text[:64]!r} is no size; write for instance 512MiB or 2GiB")
    size = int(match[1]) * _UNITS[match[2]]
    if size > MAX_SIZE:
        raise ValueError(f"{text!r} is more than {format_size(MAX_SIZE)}")
    return size


def format_size(size: int) -> str:
    """Return the canonical text of ``size``, which parses back to it: the largest unit that fits exactly."""
    unit = next(unit for unit in _WRITTEN if size % _UNITS[unit] == 0)
    return f"{size // _UNITS[unit]}{unit}"


def _size_of(value: object) -> int:
    if isinstance(value, str):
        return parse_size(value)
    if isinstance(value, int) and not isinstance(value, bool):
        raise ValueError(f"{value} has no unit; write for instance 512MiB")  # noqa: TRY004 - pydantic wants it
    raise ValueError("must be a size, for instance 512MiB")


def _cores_of(value: object) -> float:
    if isinstance(value, str) and (match := re.fullmatch(_PERCENT, value)):
        cores = float(match[1]) / (100 if match[2] else 1)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        cores = float(value)
    else:
        raise ValueError("must be a share of one core, for instance 50%, or a number of cores")
    if not _LEAST_CPU <= cores <= _MOST_CPU:
        raise ValueError("must be at least 1% of a core, and at most 4096 cores")
    return cores


Size = Annotated[
    int,
    BeforeValidator(_size_of),
    PlainSerializer(format_size, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": f"^{_PATTERN}$", "examples": ["512MiB", "2GiB"]}),
]
"""Bytes in a model: read from text, written as canonical text in JSON."""

Cores = Annotated[
    float,
    BeforeValidator(_cores_of),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": f"^{_PERCENT}$", "examples": ["50%"]},
                {"type": "number", "minimum": _LEAST_CPU, "maximum": _MOST_CPU},
            ]
        }
    ),
]
"""CPU in a model: ``50%`` of one core, or a number of cores, which is what is stored."""
