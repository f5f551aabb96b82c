#!/usr/bin/env python3
"""Writes what follows from commands, settings and routes: cli.md, configuration.md, openapi.json. A test compares them.

python docs/generate_reference.py
"""

import inspect
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from typer.main import get_command  # noqa: E402 - see above

from scheduler import errors  # noqa: E402 - the checkout's own, wherever it is run from
from scheduler.api.app import make_app  # noqa: E402 - see above
from scheduler.api.description import document  # noqa: E402 - see above
from scheduler.api.site import Site  # noqa: E402 - see above
from scheduler.cli.main import app  # noqa: E402 - see above
from scheduler.cli.process import PORTS  # noqa: E402 - see above
from scheduler.clock import SystemClock  # noqa: E402 - see above
from scheduler.config import Settings, knobs, shown  # noqa: E402 - see above
from scheduler.metrics import Metrics  # noqa: E402 - see above

_NOTE: Final = "<!-- Written by docs/generate_reference.py; change the code, not this page. -->"
_CODES: Final = {
    0: "done; a serving command: drained after a signal",
    1: "failed: a run that was waited for, a check, an idle `up` with a failed run",
    2: "the command line is wrong",
    130: "ended by a second SIGINT",
    143: "ended by a second SIGTERM",
}
_ABOUT_COMMANDS: Final = """\
Every reading command has `--json`: one document with stable keys, no colour, times in UTC (RFC 3339). Without it,
tables show local time. `NO_COLOR` and `--no-color` are honoured. Errors are one line on standard error, `error: …`;
with `--json` they are a problem object with `title`, `detail` and `exit_code`.

Commands speak to the database that `DATABASE_URL` names, else to the `scheduler up` that runs on `--data-dir`."""
_ABOUT_SETTINGS: Final = """\
A value is taken from the first of: the flag of a command, the environment, the configuration file, the default.
`scheduler config show` prints each value with its origin, secrets masked.

- In the environment a name is `SCHEDULER_` and the setting in capitals, parts joined by `__`. An empty variable
  counts as not given; a misspelt one is warned of.
- `DATABASE_URL` and `AMQP_URL` are understood as they are; `SCHEDULER_DATABASE_URL` goes before them.
- The four URLs and `jwt.secret` are secrets: each may be in a file named by its variable with `_FILE` at the end.
- The file is `scheduler.toml` in the working directory, or what `--config` or `SCHEDULER_CONFIG` names; the parts of
  a name are tables: `[tick]`, then `interval = "2s"`. Unknown names are errors. A file with secrets should be
  readable by its owner only.
- Probe ports, unless set: {ports}."""


def cli_page() -> str:
    """Return the page of every command, its options and the exit codes."""
    command = get_command(app)
    parts = [
        "# The command `scheduler`",
        _NOTE,
        _ABOUT_COMMANDS,
        "## Exit codes",
        _table(("code", "means"), [(str(code), text) for code, text in sorted(_exit_codes().items())]),
        "## Options of every command",
        _table(("option", "does"), _options(command)),
    ]
    for name, inner in _commands(command, ""):
        parts += [f"## `scheduler {name}`", *_about(inner)]
    return "\n\n".join(parts) + "\n"


def configuration_page() -> str:
    """Return the page of every setting."""
    defaults = Settings(data_dir=Path("~/.local/state/scheduler"))
    rows = []
    for knob in knobs():
        value = shown(defaults, knob)
        value = "~/.local/state/scheduler" if knob.name == "data_dir" else value
        about = " ".join(knob.description.split())
        rows.append((f"`{knob.name}`", f"`{knob.variable}`", f"`{value}`" if value else "", about))
    ports = ", ".join(f"{name} {port}" for name, port in PORTS.items())
    return (
        "\n\n".join(
            [
                "# Settings",
                _NOTE,
                _ABOUT_SETTINGS.format(ports=ports),
                _table(("setting", "variable", "default", "is"), rows),
            ]
        )
        + "\n"
    )


def openapi_page() -> str:
    """Return the OpenAPI document of the HTTP interface."""
    app = make_app(Site(Settings(), SystemClock(), Metrics("docs")))
    return json.dumps(document(app), indent=1, ensure_ascii=False) + "\n"


PAGES: Final = {
    "docs/cli.md": cli_page,
    "docs/configuration.md": configuration_page,
    "docs/openapi.json": openapi_page,
}


def _exit_codes() -> dict[int, str]:
    codes = dict(_CODES)
    for _, error in inspect.getmembers(errors, inspect.isclass):
        if issubclass(error, errors.SchedulerError) and error.exit_code not in codes:
            codes[error.exit_code] = _meanings()[error.__name__]
    return codes


def _meanings() -> dict[str, str]:
    """Return what each error means, from the tree in the docstring of scheduler/errors.py."""
    found = re.findall(r"[├└]─ (\w+)\s{2,}(.+?)(?:\s{2,}|$)", errors.__doc__ or "", re.MULTILINE)
    return dict(found) | {
        "TransientError": "the broker or the database is unavailable",
        "BrokerUnavailableError": "the broker or the database is unavailable",
        "DatabaseUnavailableError": "the broker or the database is unavailable",
        "SessionLostError": "the broker or the database is unavailable",
    }


def _commands(group: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name in group.commands:
        inner = group.commands[name]
        if hasattr(inner, "commands"):
            yield from _commands(inner, f"{path}{name} ")
        else:
            yield f"{path}{name}", inner


def _about(command: Any) -> Iterator[str]:
    text = (command.help or "").replace("\b\n", "")
    for part in text.split("\n\n"):
        if part.startswith("Examples:"):
            examples = [line.strip() for line in part.splitlines()[1:]]
            yield "\n".join(["```console", *(f"$ {example}" for example in examples), "```"])
        else:
            yield part
    if rows := _options(command):
        yield _table(("argument or option", "does"), rows)


def _options(command: Any) -> list[tuple[str, str]]:
    rows = []
    for parameter in command.params:
        name = parameter.metavar if parameter.param_type_name == "argument" else ", ".join(parameter.opts)
        if name and "--install-completion" not in name and "--show-completion" not in name:
            rows.append((f"`{name}`", parameter.help or ""))
    return rows


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def main() -> None:
    for name, page in PAGES.items():
        (ROOT / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
