"""Seats: where an executor keeps what it owes, and the name that goes with the place."""

import fcntl
import os
import socket
import uuid
from pathlib import Path

from scheduler.errors import ConfigurationError


class Seat:
    """A folder that one executor has to itself while it lives, and the name that goes with it.

    What an executor owes outlives it in this folder, so the next one on this machine takes it over,
    name included. Leaving or dying gives the seat free.
    """

    def __init__(self, folder: Path, name: str, lock: int) -> None:
        self.folder = folder
        self.name = name
        self._lock = lock

    @classmethod
    def take(cls, base: Path, pool: str) -> "Seat":
        """Return the first free seat of ``pool`` below ``base``. Blocks for the disk.

        Raises:
            ConfigurationError: the folder cannot be written.
        """
        number = 0
        while True:
            folder = base / f"{pool}.{number}"
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                lock = os.open(folder / "seat", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise ConfigurationError(f"data directory {folder}: {error.strerror}") from None
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                number += 1
                continue
            mark = os.read(lock, 64).decode() or uuid.uuid4().hex[:8]
            os.pwrite(lock, mark.encode(), 0)
            return cls(folder, f"{socket.gethostname()[:63]}-{mark}", lock)

    def leave(self) -> None:
        os.close(self._lock)
