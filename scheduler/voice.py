"""What an attempt says of itself while it runs: how far it is, and what it writes.

Only the standard library is imported here, so that a python child starts fast.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, Protocol

MESSAGE_CHARS: Final = 200
_PAIR: Final = 2


class Told(NamedTuple):
    """Progress as a job told it: ``done`` of ``total`` (None: it does not know of how many), and a few words."""

    done: float
    total: float | None = None
    message: str = ""


def told_of(value: Any) -> Told | None:
    """Return the progress in a report of a job's own making; None when it is none.

    Amounts are finite and not negative; of the words, one line of at most 200 characters is kept.
    """
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) <= _PAIR:
        return None
    done, total, message = value[:3]
    if not _is_amount(done) or not (total is None or _is_amount(total)) or not isinstance(message, str):
        return None
    words = "".join(char if char.isprintable() else " " for char in message[: 4 * MESSAGE_CHARS])
    return Told(float(done), None if total is None else float(total), " ".join(words.split())[:MESSAGE_CHARS])


def _is_amount(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return 0 <= float(value) < math.inf
    except OverflowError:
        return False


class Piece(NamedTuple):
    """Masked text for the bytes from ``at`` up to ``until`` of what an attempt wrote."""

    at: int
    until: int
    text: str


class Masking(Protocol):
    """Takes secrets out of texts."""

    def text(self, text: str) -> str: ...

    def unsettled(self, text: str) -> int:
        """Return how many characters at the end of ``text`` may be the beginning of a secret."""
        ...

    def begun_before(self, text: str) -> str:
        """Return ``text`` without the end of a secret whose beginning is not in it."""
        ...


class Reader(Protocol):
    """Reads output from a position; see ``Voice.piece``."""

    def __call__(self, mask: Masking | None, position: int, most: int, *, final: bool) -> Piece | None: ...


class Voice:
    """The live side of one attempt. ``hear`` is for any thread, the rest for the executor's loop."""

    __slots__ = ("mask", "output", "source", "told")

    def __init__(self) -> None:
        self.told: Told | None = None
        self.source: Callable[[], Told | None] | None = None
        """Where to look for progress that is not brought here: a file, a descriptor."""
        self.output: Reader | None = None
        """None: nothing is written, or it cannot be read before the end."""
        self.mask: Masking | None = None

    def hear(self, told: Told) -> None:
        """Take progress; the last one counts."""
        self.told = told

    def look(self) -> Told | None:
        """Return how far it is, masked; None when it never said so."""
        if self.source is not None:
            self.told = self.source() or self.told
        told = self.told
        return told if told is None or self.mask is None else told._replace(message=self.mask.text(told.message))

    def end(self) -> None:
        """Look for the last time: what is looked at is about to go."""
        self.look()
        self.source = None

    def piece(self, position: int, most: int, *, final: bool = False) -> Piece | None:
        """Return what was written from ``position`` on, at most ``most`` bytes; None when there is nothing new.

        What may be a character or a secret cut in two waits for the rest, unless ``final``. It begins
        later than ``position`` when what was there is no longer kept.
        """
        return None if self.output is None else self.output(self.mask, position, most, final=final)
