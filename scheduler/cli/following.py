"""``scheduler run logs -f``: what a run writes, on a terminal as it comes."""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from scheduler.cli.output import print_line
from scheduler.cli.run_id import find_run
from scheduler.cli.shared import ask
from scheduler.logs import printable

if TYPE_CHECKING:
    import typer

    from scheduler.config import Settings
    from scheduler.store.following import Word
    from scheduler.store.stores import Store


_EXACT: Final = 1e15
"""Below it every whole number is told exactly."""


def follow_run(context: "typer.Context", digits: str, *, attempt: int, as_json: bool) -> int:
    """Print what a run says until it is over; return the exit code: 0 when it succeeded, else 1."""
    from scheduler.clock import SystemClock
    from scheduler.store.following import RunOver, follow

    show = _JsonLines() if as_json else _Terminal()

    async def question(store: "Store", settings: "Settings") -> int:
        run = await find_run(store, settings.tenant, digits)
        async for word in follow(store, settings.tenant, run, SystemClock(), attempt=attempt):
            show(word)
            if isinstance(word, RunOver):
                return 0 if word.state == "succeeded" else 1
        return 1

    return ask(context, question)


def progress_text(progress: Mapping[str, Any] | None) -> str:
    """Return progress for people: ``3 of 10 (30 %) copying``; nothing when there is none."""
    if not progress:
        return ""
    done, total = progress["done"], progress["total"]
    text = number_text(done) if total is None else f"{number_text(done)} of {number_text(total)}"
    if total:
        text += f" ({min(100, 100 * done / total):.0f} %)"
    return f"{text} {progress['message']}".rstrip()


def number_text(amount: float) -> str:
    """Return a number that a job gave, whole where it is whole and not very large."""
    return f"{amount:.0f}" if amount == int(amount) and abs(amount) < _EXACT else f"{amount:.12g}"


class _JsonLines:
    """One document for each word: a line of its own."""

    def __call__(self, word: "Word") -> None:
        name = {"Wrote": "output", "Missed": "missed", "Went": "progress", "AttemptOver": "attempt", "RunOver": "run"}
        fields = asdict(word)
        if (told := fields.pop("told", None)) is not None:
            fields |= told._asdict()
        sys.stdout.write(json.dumps({"type": name[type(word).__name__], **fields}, ensure_ascii=False) + "\n")
        sys.stdout.flush()


class _Terminal:
    """Lines and tabs as they are, other control characters as escapes; progress on standard error, if it is a tty."""

    def __init__(self) -> None:
        self._begun = False
        """A line is begun and not ended."""
        self._returned = False
        self._bar = 0

    def __call__(self, word: "Word") -> None:
        from scheduler.store.following import AttemptOver, Missed, RunOver, Went, Wrote

        self._wipe()
        match word:
            case Wrote():
                self._write(word.text)
            case Missed():
                self._note(f"--- {word.size} bytes are not shown")
            case AttemptOver():
                why = f" ({word.reason})" if word.reason else ""
                if word.outcome != "succeeded":
                    self._note(f"--- attempt {word.attempt}: {word.outcome}{why}")
            case RunOver():
                self._note("" if word.state == "succeeded" else f"--- {word.job}: {word.state}")
            case Went():
                self._draw(progress_text(word.told._asdict()))
        sys.stdout.flush()

    def _write(self, text: str) -> None:
        if self._returned and text.startswith("\n"):
            text = text[1:]
        self._returned = text.endswith("\r")
        lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        sys.stdout.write("\n".join("\t".join(printable(part) for part in line.split("\t")) for line in lines))
        self._begun = bool(lines[-1])

    def _note(self, text: str) -> None:
        if self._begun:
            sys.stdout.write("\n")
            self._begun = False
        if text:
            print_line(text)

    def _draw(self, text: str) -> None:
        if sys.stderr.isatty() and not self._begun:
            shown = printable(text)
            sys.stderr.write(f"\r{shown}")
            sys.stderr.flush()
            self._bar = len(shown)

    def _wipe(self) -> None:
        if self._bar:
            sys.stderr.write("\r" + " " * self._bar + "\r")
            sys.stderr.flush()
            self._bar = 0
