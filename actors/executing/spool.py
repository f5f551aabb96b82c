"""The spool: a file that keeps the ends of attempts until the Recorder has named them.

One line per end, each the JSON of an AttemptFinished. A batch is one ``write``; that survives
SIGKILL of this process. It is not synced to disk: when the machine dies, leases run out anyway.
The file belongs to one process at a time, held by a lock on the state directory.
"""

import fcntl
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import structlog

from scheduler.errors import ConfigurationError

log: structlog.stdlib.BoundLogger = structlog.get_logger()

COMPACT_AT_BYTES: Final = 16 * 1024 * 1024
"""Above this size the file is written anew with what is still owed."""


class Spool:
    """An append-only file in ``folder``; ``trouble`` says why it cannot be written at the moment."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "ends.jsonl"
        self._folder = folder
        self._lock: int | None = None
        self._file: int | None = None
        self.size = 0
        self.trouble: str | None = None

    def open(self) -> list[bytes]:
        """Lock the folder and return the lines left by an earlier process, in order.

        A last line without its end was torn by a crash; it is dropped, its attempt will count as lost.

        Raises:
            ConfigurationError: the folder cannot be used, or another executor uses it.
        """
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._file = self._opened(self._path)
            content = self._path.read_bytes()
        except BlockingIOError:
            self.close()
            raise ConfigurationError(f"{self._folder} is in use by another executor") from None
        except OSError as error:
            self.close()
            raise ConfigurationError(f"{self._folder} cannot be used for state: {error.strerror}") from None
        self.size = content.rfind(b"\n") + 1
        os.ftruncate(self._file, self.size)
        return content[: self.size].split(b"\n")[:-1]

    def append(self, lines: Sequence[bytes]) -> None:
        """Write ``lines`` in one go. A full disk is a trouble, not an error: the ends are in memory too."""
        if self._file is None:
            return
        block = b"\n".join(lines) + b"\n"
        try:
            written = os.write(self._file, block)
            if written < len(block):
                os.ftruncate(self._file, self.size)  # or the next line would be glued to half a line
                raise OSError(0, f"only {written} of {len(block)} bytes were taken")
        except OSError as error:
            self._fail(error)
        else:
            self.size += len(block)
            self.trouble = None

    def rewrite(self, lines: Iterable[bytes]) -> None:
        """Replace the content by ``lines``, all or nothing."""
        if self._file is None:
            return
        block = b"".join(line + b"\n" for line in lines)
        beside = self._path.with_suffix(".new")
        try:
            if block:
                beside.write_bytes(block)
                beside.replace(self._path)
                os.close(self._file)
                self._file = self._opened(self._path)
            else:
                os.ftruncate(self._file, 0)
        except OSError as error:
            self._fail(error)
        else:
            self.size = len(block)
            self.trouble = None

    def close(self) -> None:
        """Let go of the folder; what is owed stays in the file."""
        for descriptor in (self._file, self._lock):
            if descriptor is not None:
                os.close(descriptor)
        self._file = self._lock = None

    @staticmethod
    def _opened(path: Path) -> int:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def _fail(self, error: OSError) -> None:
        if self.trouble is None:
            log.error("spool.unwritable", path=str(self._path), error=str(error))
        self.trouble = f"the spool {self._path} cannot be written: {error.strerror}"
