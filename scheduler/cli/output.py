"""What commands print: tables for people, one JSON document for programs, one line for errors."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from scheduler.logs import Redactor, printable

if TYPE_CHECKING:
    from scheduler.errors import SchedulerError

STATE_STYLES: Final = {
    "succeeded": "green",
    "started": "green",
    "failed": "red",
    "running": "cyan",
    "queued": "cyan",
    "backing_off": "yellow",
    "cancelled": "magenta",
    "skipped": "bright_black",
}


def rfc3339(at: datetime) -> str:
    """Return an instant in UTC; with fractions of a second only when it has any."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    raise TypeError(f"{type(value).__name__} is no JSON")


def print_json(document: object) -> None:
    """Print one document, the same on every terminal."""
    sys.stdout.write(json.dumps(document, default=_plain, ensure_ascii=False, indent=2) + "\n")


def print_rows(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], *, empty: str) -> None:
    """Print a table of ``columns``, whose names are keys of the rows; ``empty`` when there are none.

    Times are local; the header says the zone, or each of them where a change of the clock lies between.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    rows = list(rows)
    cells = [[cell(row.get(column)) for column in columns] for row in rows]
    if not cells:
        print_line(empty)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        mark = _mark_of(row.get(column) for row in rows)
        if mark:
            for line in cells:
                line[index] = line[index].removesuffix(mark)
        table.add_column(
            column.replace("_", " ") + (f" ({mark.strip()})" if mark else ""),
            overflow="fold",
            no_wrap=column in {"id", "run", "run_id"} or bool(mark),
        )
    for line in cells:
        table.add_row(*(Text(text, style=STATE_STYLES.get(text, "")) for text in line))
    console = Console(highlight=False)
    if not sys.stdout.isatty():
        console.width = 240
    console.print(table)


def _mark_of(values: Iterable[object]) -> str:
    """Return how all the times among ``values`` end, to be said once in the header; "" when they differ."""
    marks = {f" {zone_mark(value)}" for value in values if isinstance(value, datetime)}
    return marks.pop() if len(marks) == 1 else ""


def zone_mark(at: datetime) -> str:
    """Return the mark of the terminal's time zone at that instant: UTC, CET, CEST, +03."""
    return at.astimezone().strftime("%Z") or "UTC"


def print_fields(fields: Mapping[str, Any]) -> None:
    """Print names and values below one another; what is empty is left out."""
    shown = {name.replace("_", " "): cell(value) for name, value in fields.items() if value not in (None, "", [], {})}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        print_line(f"{name:<{width}}  {value}")


def print_line(text: str) -> None:
    sys.stdout.write(printable(text) + "\n")


def print_output(text: str) -> None:
    """Print what a job wrote: lines and tabs as they are, other control characters as escapes."""
    for line in text.splitlines():
        sys.stdout.write("\t".join(printable(part) for part in line.split("\t")) + "\n")


def cell(value: object) -> str:
    """Return one value for people: local time with its zone, words instead of brackets."""
    match value:
        case None:
            text = ""
        case bool():
            text = "yes" if value else "no"
        case datetime():
            text = f"{value.astimezone():%Y-%m-%d %H:%M:%S} {zone_mark(value)}"
        case float():
            text = f"{value:.2f}"
        case list() | tuple():
            text = ", ".join(map(cell, value))
        case dict():
            text = json.dumps(value, default=_plain, ensure_ascii=False)
        case _:
            text = str(value)
    return printable(text)


def amount(size: int) -> str:
    """Return bytes for people, in the unit that leaves a number below 1024."""
    value, unit = float(size), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:  # noqa: PLR2004 - of each unit in the next
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def say_warning(text: str) -> None:
    sys.stderr.write(f"warning: {printable(Redactor()(text))}\n")


def say_error(error: "SchedulerError", *, as_json: bool) -> None:
    """Say one error on standard error: a line, or a problem object with ``--json``."""
    from scheduler.errors import DefinitionsError

    problems = error.problems if isinstance(error, DefinitionsError) else ()
    redact = Redactor()
    if as_json:
        problem: dict[str, object] = {
            "type": f"urn:scheduler:error:{error.code}",
            "title": error.code,
            "detail": redact(str(error)),
            "exit_code": error.exit_code,
        }
        if isinstance(error, DefinitionsError):
            problem["errors"] = error.details
        sys.stderr.write(json.dumps(problem, ensure_ascii=False) + "\n")
    elif problems:
        sys.stderr.writelines(f"{printable(line)}\n" for line in problems)
    else:
        sys.stderr.write(f"error: {printable(redact(str(error)))}\n")


def say_usage_error(message: str, command: str, *, as_json: bool) -> None:
    """Say what is wrong with the command line itself, and where its help is."""
    text = " ".join(message.removeprefix("Invalid value: ").split())
    if as_json:
        problem = {"type": "urn:scheduler:error:usage", "title": "usage", "detail": text, "exit_code": 2}
        sys.stderr.write(json.dumps(problem, ensure_ascii=False) + "\n")
    else:
        sys.stderr.write(f"error: {printable(text)} (see {command} --help)\n")
