"""What a command or script leaves in files for us: its result, and its wish to be run later."""

import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Final

from scheduler.ports import Ended
from scheduler.sandbox.output import one_line, storable
from scheduler.sandbox.results import RESULT_BYTES, UnusableResultError, parse_result
from schemas.durations import parse_duration
from schemas.vocabulary import Outcome

RESULT_NAME: Final = ".scheduler-result.json"
SNOOZE_NAME: Final = ".scheduler-snooze"
_SNOOZE_BYTES: Final = 1024


def with_left_files(ended: Ended, folder: Path) -> Ended:
    """Return ``ended`` with what the files of its folder say; only an exit code of 0 can snooze."""
    ended = _with_result(ended, folder / RESULT_NAME)
    return _with_snooze(ended, folder / SNOOZE_NAME) if ended.exit_code == 0 else ended


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


def _read(path: Path, most: int) -> bytes | None:
    """Return the beginning of a file that a job may have made into anything; None when there is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UnusableResultError(error.strerror or "it cannot be read") from None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise UnusableResultError("it is not a regular file")
        return os.read(fd, most)
    finally:
        os.close(fd)
