"""Results of jobs: small JSON that every store takes, or a reason why there is none."""

import json
import re
import sys
from collections.abc import Mapping
from typing import Any

from scheduler.voice import Told, told_of

RESULT_BYTES = 64 * 1024
RESULT_DEPTH = 64
RESULT_FD = 3
"""The descriptor of a python child to which its report goes, behind its progress."""
PROGRESS_BYTES = 1024
"""What the beginning of that file is for: one line of JSON."""
LINK_FD = 4
"""The descriptor that joins a python child to its warden, where it may be kept for further runs."""
KEPT = b"kept"
"""What the warden says there after a run."""
BEGUN = b"begun"
"""What the child says when it has taken up another."""


MOST_METRICS = 50
MOST_BASES = 16
"""So many of the classes that an exception is derived from are told."""
DISK_METRIC = "disk_bytes"
"""The metric that tells the most that was seen in the folder of an attempt, where that is limited."""
_METRIC_NAME = re.compile("[a-z][a-z0-9_]{0,62}")


class UnusableResultError(ValueError):
    """What a job handed back cannot be a result; the text completes "result dropped: "."""


def result_of(value: object) -> Any:
    """Return ``value`` as plain JSON values, detached from the job's own objects.

    Raises:
        UnusableResultError: not JSON (NaN included), over 64 KiB, too deep, or holding NUL or lone surrogates.
    """
    if value is None or value is True or value is False:
        return value
    try:
        text = json.dumps(value, allow_nan=False)
    except RecursionError:
        raise UnusableResultError("it is nested too deeply") from None
    except Exception as error:  # noqa: BLE001 - a job's own object may raise anything while it is looked at
        raise UnusableResultError(f"it is not JSON ({type(error).__name__}: {error})") from None
    return parse_result(text.encode())


def parse_result(raw: bytes) -> Any:
    """Return the JSON value in ``raw``.

    Raises:
        UnusableResultError: as for ``result_of``.
    """
    if len(raw) > RESULT_BYTES:
        raise UnusableResultError(f"it is larger than {RESULT_BYTES // 1024} KiB")
    try:
        value = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise UnusableResultError(f"it is not JSON ({error})") from None
    _check(value, RESULT_DEPTH)
    return value


def is_metric(name: object, value: object) -> bool:
    """Whether it can be stored as a number that a job gave."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    return number and isinstance(name, str) and _METRIC_NAME.fullmatch(name) is not None


def metrics_of(value: object) -> dict[str, float] | None:
    """Return those of the numbers in a report that can be stored; None when there are none."""
    if not isinstance(value, dict):
        return None
    found = {name: float(number) for name, number in value.items() if is_metric(name, number)}
    return dict(list(found.items())[:MOST_METRICS]) or None


def bases_told(value: object) -> tuple[str, ...]:
    """Return the names of classes in a report; () for what are none."""
    found = value if isinstance(value, list) else ()
    return tuple(name for name in found if isinstance(name, str) and name.isidentifier())[:MOST_BASES]


def with_metric(metrics: Mapping[str, float] | None, name: str, value: float) -> dict[str, float]:
    """Return ``metrics`` with one more, if the job has not given it itself, nor as many as there may be."""
    given = metrics or {}
    return dict(given) if len(given) >= MOST_METRICS else {name: float(value), **given}


def progress_line(told: Told) -> bytes:
    """Return progress as a child writes it."""
    return json.dumps(told, ensure_ascii=False).encode().ljust(PROGRESS_BYTES - 1) + b"\n"


def progress_of(line: bytes) -> Told | None:
    """Return what such a line says; None when it says nothing."""
    try:
        return told_of(json.loads(line.strip(b" \n\x00") or b"null"))
    except (ValueError, RecursionError):
        return None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _check(value: object, depth: int) -> None:
    if depth == 0:
        raise UnusableResultError(f"it is nested deeper than {RESULT_DEPTH}")
    if isinstance(value, str):
        if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
            raise UnusableResultError("it holds NUL or a lone surrogate")
    elif isinstance(value, dict):
        for key, item in value.items():
            _check(key, depth)
            _check(item, depth - 1)
    elif isinstance(value, list):
        for item in value:
            _check(item, depth - 1)
    elif isinstance(value, float) and value in (float("inf"), float("-inf")):
        raise UnusableResultError("it holds a number out of range")
