"""What changed in a folder since it was last recorded, and whether it has settled. The listing is the truth.

A change counts when two looks at least ``settle_s`` apart, and all between them, saw the same. So a file that is
being written does not count yet, one that is made and renamed in between never does, and one that is deleted
and made anew at once is a replacement.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from schemas.vocabulary import FileChange


class Stamp(NamedTuple):
    """How a file looked. ``inode`` and ``born_ns`` tell whether it is the same file; 0: the system does not say."""

    size: int
    mtime_ns: int
    inode: int = 0
    born_ns: int = 0

    def same_as(self, other: "Stamp") -> bool:
        """Whether it is the same file with the same content, as far as can be seen from outside.

        Another inode alone is no change: some network file systems give one at each mount.
        """
        return self is other or (
            self.size == other.size and self.mtime_ns == other.mtime_ns and not _differ(self.born_ns, other.born_ns)
        )

    def is_other_file(self, before: "Stamp") -> bool:
        """Whether another file took the place of ``before``, as a rename over it does."""
        return _differ(self.born_ns, before.born_ns) or _differ(self.inode, before.inode)


@dataclass(slots=True)
class Listing:
    """What a look at a folder found, by path below it."""

    files: dict[bytes, Stamp] = field(default_factory=dict)
    unseen: set[bytes] = field(default_factory=set)
    """Folders and files that could not be looked at: nothing is known of them, nor of what is below."""
    fresh: set[bytes] = field(default_factory=set)
    """Files that came or changed after the instant that was asked about."""

    def hides(self, path: bytes) -> bool:
        """Whether ``path`` may be there although it is not listed."""
        while self.unseen and path:
            if path in self.unseen:
                return True
            path = path.rpartition(b"/")[0]
        return False


@dataclass(frozen=True, slots=True)
class Change:
    """A change that has settled. ``kind`` None: nobody waits for it, it is only to be remembered."""

    kind: FileChange | None
    path: bytes
    stamp: Stamp | None
    """None: the file is gone."""
    replaced: bool = False
    """Another file took the place of one that was there."""
    renamed_from: bytes | None = None
    """It was known by this path, which is gone."""


class FileTracker:
    """Compares listings of one folder with what was recorded. ``known`` belongs to it from now on."""

    def __init__(
        self, known: dict[bytes, Stamp], wanted: Collection[FileChange], settle_s: float, min_size: int
    ) -> None:
        self.known: Final = known
        self._wanted = frozenset(wanted)
        self._settle_s = settle_s
        self._min_size = min_size
        self._pending: dict[bytes, tuple[Stamp | None, float]] = {}
        """What differs, how, and since when it has looked so."""

    def look(self, listing: Listing, now: float) -> list[Change]:
        """Return what has settled by ``now`` (monotonic seconds): what is gone, then the rest by time.

        It comes again until it is told to ``remember``.
        """
        gone = [path for path in self.known if path not in listing.files and not listing.hides(path)]
        pending: dict[bytes, tuple[Stamp | None, float]] = {}
        for path, stamp in (*((path, None) for path in gone), *self._differing(listing.files)):
            before = self._pending.get(path)
            goes_on = before is not None and _alike(before[0], stamp)
            pending[path] = (stamp, before[1]) if before is not None and goes_on else (stamp, now)
        self._pending = pending
        settled = [path for path, (_, since) in pending.items() if now - since >= self._settle_s]
        if not settled:
            return []
        left = {self.known[path][2:]: path for path in gone if self.known[path].inode}
        return sorted((self._change(path, pending[path][0], left) for path in settled), key=_order)

    def remember(self, changes: Iterable[Change]) -> None:
        """Take it that ``changes`` are recorded."""
        for change in changes:
            self._pending.pop(change.path, None)
            if change.stamp is None:
                self.known.pop(change.path, None)
            else:
                self.known[change.path] = change.stamp

    def due_in(self, now: float) -> float | None:
        """Return in how many seconds the first of what waits can have settled; None: nothing waits."""
        return min((since + self._settle_s - now for _, since in self._pending.values()), default=None)

    def _differing(self, files: Mapping[bytes, Stamp]) -> Iterator[tuple[bytes, Stamp]]:
        for path, stamp in files.items():
            known = self.known.get(path)
            if stamp.size >= self._min_size and (known is None or not stamp.same_as(known)):
                yield path, stamp

    def _change(self, path: bytes, stamp: Stamp | None, left: Mapping[tuple[int, int], bytes]) -> Change:
        before = self.known.get(path)
        if stamp is None:
            return Change(self._if_wanted(FileChange.DELETED), path, None)
        if before is None:
            return Change(self._if_wanted(FileChange.ADDED), path, stamp, renamed_from=left.get(stamp[2:]))
        replaced = stamp.is_other_file(before)
        kind = self._if_wanted(FileChange.MODIFIED)
        if kind is None and replaced:  # with a name that was there before, and yet a file that came
            kind = self._if_wanted(FileChange.ADDED)
        return Change(kind, path, stamp, replaced=replaced)

    def _if_wanted(self, kind: FileChange) -> FileChange | None:
        return kind if kind in self._wanted else None


def _order(change: Change) -> tuple[int, bytes]:
    return (0 if change.stamp is None else 1 + max(change.stamp.mtime_ns, 0), change.path)


def _alike(one: Stamp | None, other: Stamp | None) -> bool:
    return other is None if one is None else other is not None and one.same_as(other)


def _differ(one: int, other: int) -> bool:
    return bool(one and other and one != other)
