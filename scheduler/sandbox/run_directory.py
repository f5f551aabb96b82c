"""The directory of one runner, below one that runners of this host may share; what dead runners left is removed."""

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

_PREFIX = "runner-"
_LOCK = ".lock"


class RunDirectory:
    """A fresh 0700 directory, held by a lock for as long as this process lives. Blocks: call it in a thread."""

    def __init__(self, base: Path) -> None:
        """Make it and remove the directories of runners that are no more.

        Raises:
            OSError: it cannot be made.
        """
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        opening = _open(base / _LOCK)
        try:
            fcntl.flock(opening, fcntl.LOCK_EX)  # nobody takes a directory for dead before its lock is held
            for left in base.glob(f"{_PREFIX}*"):
                _remove_if_dead(left)
            self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base)).resolve()
            self._lock = _open(self.path / _LOCK)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        finally:
            os.close(opening)

    def close(self) -> None:
        """Remove it with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def _remove_if_dead(directory: Path) -> None:
    try:
        lock = _open(directory / _LOCK)
    except OSError:  # another user's
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(directory, ignore_errors=True)
    except BlockingIOError:  # its runner lives
        return
    finally:
        os.close(lock)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
