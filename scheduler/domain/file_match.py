"""Globs of file names, as shells and .gitignore have them."""

import fnmatch
import re
from collections.abc import Callable, Sequence
from typing import Final

_ANY_FOLDERS: Final = "**"

_Segment = Callable[[str], object] | None
"""Says whether one part of a path fits; None: ``**``."""


class FileMatch:
    """Whether a path below a folder is meant by ``patterns``.

    One without a slash is for names in any folder, one with a slash for the whole path. One that begins with ``!``
    takes out what the others match. Names that begin with a dot are matched only by parts that do. Cost: linear in
    the path for each star; no pattern can make it explode.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self._meant = [_compile(pattern) for pattern in patterns if not pattern.startswith("!")]
        self._not_meant = [_compile(pattern[1:]) for pattern in patterns if pattern.startswith("!")]
        if not self._meant:
            self._meant = [_compile("*")]
        self.looks_into_hidden: Final = any(
            part.startswith(".") for pattern in patterns for part in pattern.removeprefix("!").split("/")
        )
        """Whether a folder whose name begins with a dot can hold anything that is meant."""

    def __call__(self, path: str) -> bool:
        """Return whether ``path``, relative and with slashes, is meant."""
        parts = path.split("/")
        return any(_fits(way, parts) for way in self._meant) and not any(_fits(way, parts) for way in self._not_meant)


def _compile(pattern: str) -> list[_Segment]:
    parts = pattern.split("/")
    if len(parts) == 1:
        parts = [_ANY_FOLDERS, *parts]
    return [None if part == _ANY_FOLDERS else _segment(part) for part in parts]


def _segment(part: str) -> _Segment:
    matcher = re.compile(fnmatch.translate(part)).match
    if part.startswith("."):
        return matcher
    return lambda name: not name.startswith(".") and matcher(name)


def _fits(way: Sequence[_Segment], parts: Sequence[str]) -> bool:
    """Match parts against segments; back to the last ``**`` when one does not fit, as globs need no more."""
    at = place = 0
    resume = -1
    resume_place = 0
    while place < len(parts):
        segment = way[at] if at < len(way) else None
        if at < len(way) and segment is None:
            resume, resume_place = at, place
            at += 1
        elif segment is not None and segment(parts[place]):
            at += 1
            place += 1
        elif resume >= 0:
            resume_place += 1
            at, place = resume + 1, resume_place
        else:
            return False
    return all(segment is None for segment in way[at:])
