"""What the YAML parser complains about, said so that the file can be mended."""

from typing import Final

import yaml

_HINTS: Final = {
    "*": 'text that starts with * has to be put in quotes, as in cron: "*/5 * * * *"',
    "&": "text that starts with & has to be put in quotes",
    "!": "text that starts with ! has to be put in quotes; tags are not allowed",
    "@": 'text that starts with @ has to be put in quotes, as in cron: "@daily"',
    "`": "text that starts with ` has to be put in quotes",
    "%": "text that starts with % has to be put in quotes",
    "\t": "a tab cannot indent; use spaces",
    ":": "text with a colon and a space has to be put in quotes",
}


def explain_syntax(error: yaml.YAMLError, text: str) -> tuple[int, int, str]:
    """Return line and column (from 1) of a parser's error, and what to do about it."""
    problem = str(getattr(error, "problem", None) or getattr(error, "reason", None) or error).splitlines()[0]
    marks = [getattr(error, name, None) for name in ("problem_mark", "context_mark")]
    places = [(mark.line, mark.column) for mark in marks if mark is not None]
    lines = text.split("\n")
    for line, column in reversed(places):
        found = lines[line][column : column + 1] if line < len(lines) else ""
        if found in _HINTS and (found != ":" or "mapping values" in problem):
            return line + 1, column + 1, _HINTS[found]
    line, column = places[0] if places else (0, 0)
    if "control characters" in problem or "special characters" in problem:
        line, column = _unprintable(lines)
        problem = "a control character, which is not allowed"
    return line + 1, column + 1, f"not YAML: {problem}"


def _unprintable(lines: list[str]) -> tuple[int, int]:
    for number, line in enumerate(lines):
        for column, character in enumerate(line):
            if not character.isprintable() and character not in "\t\r\u0085\ufeff":
                return number, column
    return 0, 0
