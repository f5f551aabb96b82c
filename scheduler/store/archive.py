"""Writes down what is about to go, as JSON lines, each tenant's in files of its own.

A file has its name when it is complete and on the disk. What a crash leaves half written has another name
and is written again: of a partition that takes nothing more, always the same.
"""

import asyncio
import gzip
import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from scheduler.errors import ConfigurationError
from scheduler.store.queries import queries
from scheduler.store.stores import Store

if TYPE_CHECKING:
    import asyncpg

Q: Final = queries("retention")

_ROWS: Final = 500
_PART: Final = ".part"


class ArchiveFile:
    """One file that is being written. Blocks."""

    def __init__(self, path: Path, *, compress: bool) -> None:
        self._path = path.with_name(path.name + (".gz" if compress else ""))
        made = [folder.parent for folder in self._path.parents if not folder.exists()]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._folders = {*self._path.parents[:2], *made}
        self._part = self._path.with_name(self._path.name + _PART)
        self._raw = self._part.open("wb")
        # Without name and time in it: the same rows make the same file.
        packed = gzip.GzipFile("", "wb", 6, self._raw, 0) if compress else self._raw
        self._out = cast("io.BufferedIOBase", packed)

    def write(self, lines: Sequence[str]) -> None:
        self._out.write("".join(f"{line}\n" for line in lines).encode())

    def finish(self) -> None:
        """Give the file its name when all of it is on the disk."""
        if self._out is not self._raw:
            self._out.close()
        self._raw.flush()
        os.fsync(self._raw.fileno())
        self._raw.close()
        self._part.replace(self._path)
        for folder in self._folders:
            handle = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    def give_up(self) -> None:
        self._raw.close()
        self._part.unlink(missing_ok=True)


class TenantFiles:
    """Files of lines of one tenant after the other; none where there is no folder."""

    def __init__(self, folder: Path | None, *, compress: bool) -> None:
        self._folder = folder
        self._compress = compress
        self._tenant: str | None = None
        self._file: ArchiveFile | None = None

    async def write(self, tenant: str, name: str, lines: Sequence[str]) -> None:
        """Write lines of ``tenant`` behind those it has, else to a file of this ``name``; that of another is finished.

        Raises:
            ConfigurationError: the folder cannot be written to.
        """
        await self._apart(partial(self._write, tenant, name, lines))

    async def finish(self) -> None:
        """Have all that was written on the disk.

        Raises:
            ConfigurationError: the folder cannot be written to.
        """
        await self._apart(self._finish)

    def give_up(self) -> None:
        """Leave nothing half written; what is finished stays."""
        if self._file is not None:
            self._file.give_up()

    def _write(self, tenant: str, name: str, lines: Sequence[str]) -> None:
        if self._folder is None:
            return
        if self._file is None or tenant != self._tenant:
            self._finish()
            self._file, self._tenant = ArchiveFile(self._folder / tenant / name, compress=self._compress), tenant
        self._file.write(lines)

    def _finish(self) -> None:
        if self._file is not None:
            self._file.finish()
            self._file = None

    async def _apart(self, work: Callable[[], None]) -> None:
        """Do what blocks in a thread. The store would take an OSError for one of its connection."""
        with _said(self._folder):
            await asyncio.to_thread(work)


def archive_name(day: date, days_kept: int, generation: int) -> str:
    """Return the name of a file of a tenant: of its second generation on with that, for runs that came late."""
    again = "" if generation == 1 else f"-{generation}"
    return f"{day.isoformat()}-{days_kept}d{again}.jsonl"


async def archive_day(store: Store, folder: Path, due: "asyncpg.Record", *, compress: bool) -> int:
    """Write down the runs of a closed partition; return how many there were.

    Raises:
        ConfigurationError: the folder cannot be written to; nothing is archived.
    """
    with _said(folder):
        return await _write(store, folder, due, compress=compress)


@contextmanager
def _said(folder: Path | None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigurationError(f"retention.archive: {folder} cannot be written to: {error}") from error


async def _write(store: Store, folder: Path, due: "asyncpg.Record", *, compress: bool) -> int:
    key = (due["class"], due["day"])
    name = archive_name(due["day"], due["class"], due["generation"])
    async with store.connection() as db:
        tenants = [row["tenant"] for row in await db.fetch(Q["list_owners"], *key)]
    written = 0
    for tenant in tenants:
        file = await asyncio.to_thread(ArchiveFile, folder / tenant / name, compress=compress)
        try:
            async with store.transaction() as db:
                cursor = await db.cursor(Q["list_past"], *key, tenant)
                while rows := await cursor.fetch(_ROWS):
                    await asyncio.to_thread(file.write, [row["line"] for row in rows])
                    written += len(rows)
            await asyncio.to_thread(file.finish)
        except BaseException:
            file.give_up()
            raise
    return written
