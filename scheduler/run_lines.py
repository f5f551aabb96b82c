"""Log lines about single runs: a line for each firing, start and end, in one write for each batch.

All begin with the same keys, so that one search finds all that was said of a run, a job or a trace. They are
written without the chain that other lines go through, which would cost more than to run a short job; on a
terminal, and where nobody has configured logging, they take that way too.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from json.encoder import encode_basestring
from typing import Any, Final
from uuid import UUID

import structlog

from scheduler.logs import current

KEYS: Final = ("tenant", "job_id", "run_id", "attempt", "execution_time_ms", "trace_id")
"""What every line about a run begins with; ``job_id`` is the job's name, by which all commands and requests know it."""

NAMES: Final[Mapping[str, tuple[str, str]]] = {
    "firing.decided": ("info", "a firing has its verdict; one that starts names its run"),
    "firing.misfired": ("warning", "a firing is too late for its run to start"),
    "attempt.started": ("info", "an executor starts an attempt that was granted to it"),
    "attempt.succeeded": ("info", "an attempt ended well, after so many milliseconds"),
    "run.retried": ("warning", "an attempt failed or was lost, and the run is tried again after `delay_s`"),
    "run.snoozed": ("info", "an attempt asked to be run again later"),
    "run.failed": ("error", "a run has failed for good"),
    "run.cancelled": ("info", "a run that had started was cancelled"),
}
"""Name → level and meaning of every line about a single run."""

_NUMBERS: Final = frozenset({"attempt", "execution_time_ms"})
_LEVELS: Final = logging.getLevelNamesMapping()

Row = tuple[Any, ...]


def wanted(name: str) -> bool:
    """Whether lines of this name are to be written one by one; of level info, only where a line for each run is."""
    level = NAMES[name][0]
    return current().threshold <= _LEVELS[level.upper()] and (level != "info" or current().each_run)


def say(name: str, logger: str, keys: Sequence[str], rows: Sequence[Row]) -> None:
    """Write a line for each of ``rows``, the values of ``keys``; what is None is left out."""
    if not rows or not wanted(name):
        return
    level, block = NAMES[name][0], current().block
    if block is not None:
        names = [f'"{key}": ' for key in keys]
        block.write(name, level, logger, [_body(names, row) for row in rows])
        return
    write = getattr(structlog.get_logger(), level)
    for row in rows:
        write(name, logger=logger, **{key: _plain(v) for key, v in zip(keys, row, strict=True) if v is not None})


def say_plain(name: str, logger: str, keys: Sequence[str], rows: Sequence[Row]) -> None:
    """Do as ``say`` for rows of names, ids and numbers, none of which is None: nothing in them needs an escape."""
    block = current().block
    if block is None or not rows or not wanted(name):
        say(name, logger, keys, rows)
        return
    template = ", ".join([f'"{key}": %s' if key in _NUMBERS else f'"{key}": "%s"' for key in keys])
    block.write(name, NAMES[name][0], logger, [template % row for row in rows])


def _body(names: Sequence[str], row: Row) -> str:
    there = [(name, value) for name, value in zip(names, row, strict=True) if value is not None]
    return ", ".join([name + _AS_JSON.get(type(value), _other)(value) for name, value in there])


def _plain(value: Any) -> Any:
    return value if isinstance(value, bool | int | float) else str(value)


def _other(value: Any) -> str:
    return encode_basestring(str(value))


_AS_JSON: Final[Mapping[type, Callable[[Any], str]]] = {
    str: encode_basestring,
    int: str,
    float: repr,
    bool: lambda value: "true" if value else "false",
    UUID: lambda value: f'"{value}"',
}
