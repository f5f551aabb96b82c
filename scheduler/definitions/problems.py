"""Where something is wrong in a file, and how that is said."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

MAX_LISTED: Final = 30
"""More allowed words are not listed in a message."""

Path = tuple[str | int, ...]
"""Keys and list indexes from the top of a file down to a value."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A position in a file; line and column count from 1."""

    line: int = 1
    column: int = 1


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, or that a warning is about: ``file:line:col: path: message``."""

    file: str | None
    """None: it has no place of its own in a file."""
    place: Place
    path: str
    message: str
    allowed: tuple[str, ...] = ()
    """The words that may stand there, where it is a choice of words."""

    def detail(self) -> dict[str, object]:
        """Return the same for programs; ``allowed`` is None where any value of the right form may stand."""
        placed = self.file is not None
        return {
            "file": self.file,
            "line": self.place.line if placed else None,
            "column": self.place.column if placed else None,
            "path": self.path,
            "message": self.message,
            "allowed": list(self.allowed) or None,
        }

    def __str__(self) -> str:
        said = f"{self.path}: {self.message}"
        return said if self.file is None else f"{self.file}:{self.place.line}:{self.place.column}: {said}"


def warning_of(path: str, message: str) -> Problem:
    """Return a warning about what ``path`` names as a whole, that stands at no one place of a file."""
    return Problem(None, Place(), path, message)


def show_path(path: Path) -> str:
    """Return ``path`` as people write it: ``jobs.report.needs[0].job``; "file" for the top."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "file"


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that ``word`` is most likely meant to be; None if none is near."""
    near = difflib.get_close_matches(word[:64], list(known), n=1, cutoff=0.6)
    return near[0] if near else None


def suggest(word: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown word: the likely one, else all that are allowed."""
    words = list(known)
    near = did_you_mean(word, words)
    if near is not None:
        return f'did you mean "{near}"?'
    more = ", …" if len(words) > MAX_LISTED else ""
    return f"allowed: {', '.join(words[:MAX_LISTED])}{more}" if words else "there are none"
