"""What a command or script leaves in files for us: its result, its wish to be run later, how far it is."""

import os
import re
import stat
from dataclasses import replace
from pathlib import Path
from typing import Final

from scheduler.ports import Ended
from scheduler.sandbox.output import one_line, storable
from scheduler.sandbox.results import RESULT_BYTES, UnusableResultError, parse_result
from scheduler.voice import Told, told_of
from schemas.durations import parse_duration
from schemas.vocabulary import Outcome

RESULT_NAME: Final = ".scheduler-result.json"
SNOOZE_NAME: Final = ".scheduler-snooze"
PROGRESS_NAME: Final = ".scheduler-progress"
_SNOOZE_BYTES: Final = 1024
_PROGRESS_BYTES: Final = 1024
_AMOUNT: Final = r"(\d{1,15}(?:\.\d{1,9})?)"
_PROGRESS: Final = re.compile(rf"{_AMOUNT}\s*(?:(%)|(?:/|of\b)\s*{_AMOUNT})?(?:\s+(.*))?", re.DOTALL)


def with_left_files(ended: Ended, folder: Path) -> Ended:
    """Return ``ended`` with what the files of its folder say; only an exit code of 0 can snooze."""
    ended = _with_result(ended, folder / RESULT_NAME)
    return _with_snooze(ended, folder / SNOOZE_NAME) if ended.exit_code == 0 else ended


def progress_left(path: Path) -> Told | None:
    """Return what the last line of a file says: ``3/10 some words``, ``3 of 10``, ``30%`` or ``3``; None: nothing."""
    try:
        raw = _read(path, _PROGRESS_BYTES, last=True)
    except UnusableResultError:
        return None
    lines = storable(raw or b"").split("\n")
    found = next((match for line in reversed(lines) if (match := _PROGRESS.fullmatch(line.strip()))), None)
    if found is None:
        return None
    done, percent, total, message = found.groups()
    return told_of((float(done), 100.0 if percent else total and float(total), message or ""))


def _with_result(ended: Ended, path: Path) -> Ended:
    try:
        raw = _read(path, RESULT_BYTES + 1)
        return ended if raw is None else replace(ended, result=parse_result(raw))
    except UnusableResultError as error:
        return replace(ended, reason=ended.reason or one_line(f"result dropped: {error}"))


def _with_snooze(ended: Ended, path: Path) -> Ended:
    """Read a line such as ``5m the file is not there yet``."""
    try:
        raw = _read(path, _SNOOZE_BYTES)
        if raw is None:
            return ended
        words, _, reason = storable(raw).strip().partition("\n")[0].partition(" ")
        seconds = parse_duration(words).total_seconds()
    except ValueError as error:  # an UnusableResultError, too
        return replace(ended, outcome=Outcome.FAILED, reason=one_line(f"cannot be snoozed: {error}"))
    return replace(ended, outcome=Outcome.SNOOZED, retry_after_s=seconds, reason=one_line(reason) or None)


def _read(path: Path, most: int, *, last: bool = False) -> bytes | None:
    """Return the beginning, or the ``last`` part, of a file that a job may have made into anything; None: no file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UnusableResultError(error.strerror or "it cannot be read") from None
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise UnusableResultError("it is not a regular file")
        return os.pread(fd, most, max(0, found.st_size - most) if last else 0)
    finally:
        os.close(fd)
