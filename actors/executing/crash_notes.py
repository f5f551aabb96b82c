"""The notes of an executor, which has no database: a file for each message in hand alone, one byte for each note."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

_KEPT: Final = 1000


class CrashNotes:
    """A folder of the executor's seat; its successor in the seat finds the notes. See the port CrashBook."""

    def __init__(self, folder: Path) -> None:
        """``folder`` is made when missing; of very many old notes none is kept: their messages went elsewhere."""
        self._folder = folder
        with suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            left = list(folder.iterdir())
            for path in left if len(left) > _KEPT else ():
                path.unlink()

    async def note(self, digest: bytes, queue: str) -> int:
        """See the port. On a disk that takes nothing there are no notes: work goes on."""
        del queue
        try:
            file = os.open(self._folder / digest.hex(), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return 0
        try:
            crashes = os.fstat(file).st_size
            with suppress(OSError):
                os.write(file, b".")
        finally:
            os.close(file)
        return crashes

    async def forget(self, digest: bytes) -> None:
        """See the port."""
        with suppress(OSError):
            (self._folder / digest.hex()).unlink()
