"""What an attempt may keep in its own folder: looked at by its warden, since no cgroup counts it.

The folder is walked, at the latest each time a limit is looked at otherwise; one with many files more
seldom, so that looking costs a few per cent of a core at most. What was deleted and is still open is
not seen, nor is what is written elsewhere.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from scheduler.sandbox.limiter import Limiter

_BLOCK: Final = 512
_FILES_AT_A_LOOK: Final = 2000
"""So many are looked at in some ten milliseconds; for each more of them one look is left out."""


class DiskLimit:
    """Adds ``disk`` to what another limiter holds an attempt to."""

    def __init__(self, within: Limiter, limits: Mapping[str, Any]) -> None:
        self._within = within
        self._most: int = limits["disk"]
        self._folder: str = limits["folder"]
        self._left_out = 0
        self.kind = within.kind
        self.enter, self.shut, self.remove = within.enter, within.shut, within.remove
        self.peak_disk_bytes = 0

    @property
    def peak_bytes(self) -> int:
        return self._within.peak_bytes

    def begin(self) -> None:
        self._within.begin()

    def look(self, spent_s: float) -> str | None:
        """Return the limit that is exceeded."""
        exceeded = self._within.look(spent_s)
        if self._left_out > 0:
            self._left_out -= 1
            return exceeded
        kept, files = kept_below(self._folder)
        self._left_out = files // _FILES_AT_A_LOOK
        self.peak_disk_bytes = max(self.peak_disk_bytes, kept)
        return exceeded or ("disk" if kept > self._most else None)


def kept_below(folder: str) -> tuple[int, int]:
    """Return the bytes on disk of what is in a folder, and how many files that are; links are not followed."""
    kept = files = 0
    linked: set[tuple[int, int]] = set()
    folders = [folder]
    while folders:
        with suppress(OSError), os.scandir(folders.pop()) as entries:  # the job removes files meanwhile
            for entry in entries:
                files += 1
                with suppress(OSError):
                    found = entry.stat(follow_symlinks=False)
                    if found.st_nlink == 1 or (found.st_dev, found.st_ino) not in linked:
                        kept += found.st_blocks * _BLOCK
                    linked.add((found.st_dev, found.st_ino))
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
    return kept, files
