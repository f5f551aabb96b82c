"""Help texts: examples first on a command's own page, one sentence in the list of commands."""

import inspect
from typing import Final

import typer

_VERBATIM: Final = "\b"
"""Tells the help writer to leave the lines of a paragraph as they are."""


def arrange(app: typer.Typer) -> None:
    """Give every command below ``app`` its page and its sentence, from docstring or ``help``."""
    for command in app.registered_commands:
        text = inspect.getdoc(command.callback) or ""
        command.help, command.short_help = _page(text), _sentence(text)
    for group in app.registered_groups:
        inner = group.typer_instance
        if inner is None:
            continue
        given: object = inner.info.help
        text = given if isinstance(given, str) else ""
        group.help, group.short_help = _page(text), _sentence(text)
        arrange(inner)


def _page(text: str) -> str:
    """Join the examples, paragraphs that are indented, into one that is printed line by line."""
    examples = [part for part in text.split("\n\n") if part.startswith("  ")]
    rest = [part for part in text.split("\n\n") if not part.startswith("  ") and part != "Examples:"]
    shown = [_VERBATIM + "\nExamples:\n" + "\n".join(part.rstrip() for part in examples)] if examples else []
    return "\n\n".join([*shown, *rest])


def _sentence(text: str) -> str:
    """Return the first sentence that is no example."""
    rest = [part for part in text.split("\n\n") if not part.startswith("  ") and part != "Examples:"]
    return " ".join(rest[0].split()).split(". ")[0].rstrip(".") if rest else ""
