"""Looks at a folder: one listing of all files in it that are meant. Blocks; to be called in a thread."""

import errno
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from scheduler.domain.file_changes import Listing, Stamp
from scheduler.domain.file_match import FileMatch
from scheduler.errors import SchedulerError
from scheduler.watching.file_systems import born_ns, remote_kind
from scheduler.watching.hints import Subscription

_GONE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
_LOOK_UP_EACH: Final = 512
_MOST: Final = 2**63 - 1


class FolderAwayError(SchedulerError):
    """A folder cannot be looked at now; the text says why, in one line. Nothing is known of its files."""

    code = "folder_away"


class TooManyFilesError(FolderAwayError):
    code = "too_many_files"


class ScanEndedError(Exception):
    """Nobody waits for the scan any more."""


@dataclass(frozen=True, slots=True)
class Folder:
    """What to look at. ``root`` is an absolute path, of which links are followed."""

    root: bytes
    match: FileMatch
    recursive: bool
    most_files: int


@dataclass(slots=True)
class Scan:
    """One look at a folder.

    ``known`` are the stamps of the last one: what looks the same is not looked at closer. ``since_ns``: name
    the files that came or changed later. Each folder is watched through ``hints`` before it is
    listed, so that nothing can happen in between; ``polled`` says why that cannot be done.
    """

    folder: Folder
    hints: Subscription
    known: Mapping[bytes, Stamp] = field(default_factory=dict)
    since_ns: int | None = None
    polled: str | None = None
    ended: bool = False
    """Set by who does not wait for it any more."""
    complete: bool = False
    """Every folder was listed: what is not watched by now need not be."""
    listing: Listing = field(default_factory=Listing)
    _real_root: bytes = b""

    def run(self) -> Listing:
        """Return the listing.

        Raises:
            FolderAwayError: the root is not there, cannot be read, or holds more files than are allowed.
            ScanEndedError: it was told to end.
        """
        root = self.folder.root
        try:
            kind = remote_kind(root)
            self._real_root = os.path.realpath(root, strict=True)
        except OSError as error:
            raise FolderAwayError(_why(root, error)) from None
        self.polled = None if kind is None else f"{kind} tells nothing of changes"
        todo = [b""]
        while todo:
            below = todo.pop()
            try:
                todo += self._list(below)
            except OSError as error:
                if not below:
                    raise FolderAwayError(_why(root, error)) from None
                if error.errno not in _GONE:
                    self.listing.unseen.add(below)
        self.complete = not self.listing.unseen
        return self.listing

    def _list(self, below: bytes) -> list[bytes]:
        """Take the files of one folder; return the folders in it."""
        path = b"%b/%b" % (self.folder.root, below) if below else self.folder.root
        self._watch(path, is_root=not below)
        folders: list[bytes] = []
        with os.scandir(path) as entries:
            for number, entry in enumerate(entries):
                if number % _LOOK_UP_EACH == 0 and self.ended:
                    raise ScanEndedError
                inside = b"%b/%b" % (below, entry.name) if below else entry.name
                try:
                    if entry.is_dir(follow_symlinks=False):
                        hidden = entry.name.startswith(b".") and not self.folder.match.looks_into_hidden
                        if self.folder.recursive and not hidden:
                            folders.append(inside)
                    elif self.folder.match(os.fsdecode(inside)):
                        self._take(inside, entry)
                except OSError as error:
                    if error.errno not in _GONE:
                        self.listing.unseen.add(inside)
        return folders

    def _take(self, inside: bytes, entry: os.DirEntry[bytes]) -> None:
        is_link = entry.is_symlink()
        if is_link and not self._leads_inside(entry.path):
            return
        seen = entry.stat(follow_symlinks=is_link)
        if not stat.S_ISREG(seen.st_mode):
            return
        if len(self.listing.files) >= self.folder.most_files:
            raise TooManyFilesError(
                f"{os.fsdecode(self.folder.root)!r} holds more than {self.folder.most_files} files that match;"
                " match fewer, or raise SCHEDULER_WATCH__MAX_FILES"
            )
        stamp = Stamp(seen.st_size, _storable(seen.st_mtime_ns), seen.st_ino & _MOST)
        before = self.known.get(inside)
        if before is None or before[:3] != stamp[:3]:
            before = stamp._replace(born_ns=born_ns(entry.path, follow=is_link))
        self.listing.files[inside] = before
        if self.since_ns is not None and seen.st_ctime_ns > self.since_ns:
            self.listing.fresh.add(inside)

    def _leads_inside(self, path: bytes) -> bool:
        target = os.path.realpath(path, strict=True)
        return target.startswith(self._real_root.rstrip(b"/") + b"/")

    def _watch(self, path: bytes, *, is_root: bool) -> None:
        if self.ended:
            raise ScanEndedError
        if self.polled is not None:
            return
        try:
            if not self.hints.watch(path, follow=is_root):
                self.polled = f"inotify: {self.hints.trouble} (fs.inotify.max_user_instances)"
        except OSError as error:
            if error.errno == errno.ENOSPC:
                self.polled = "no inotify watch is left (fs.inotify.max_user_watches)"
            elif error.errno in _GONE or error.errno == errno.EACCES:
                raise
            else:
                self.polled = f"inotify: {error.strerror}"


def _storable(number: int) -> int:
    """Return a time of the system so that it fits into a column; such times are nonsense anyway."""
    return max(-_MOST - 1, min(number, _MOST))


def _why(root: bytes, error: OSError) -> str:
    return f"{os.fsdecode(root)!r}: {error.strerror}"
