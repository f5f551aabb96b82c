"""Templates: ``{{ expression }}`` inside text, filled from mappings, unable to do anything else.

Jinja's parser reads the text, but no Jinja code runs: the few expressions allowed become closures
of our own (template_nodes.py), which know mappings, lists and plain values and never touch an
attribute of a Python object. Jinja's sandbox was not enough: it allows calls, and loops in
filters, without a bound. ``{%`` and ``{#`` are ordinary text; ``{{ '{{' }}`` gives two braces.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import jinja2
from jinja2 import nodes

from scheduler.domain.template_errors import TemplateError
from scheduler.domain.template_nodes import Evaluate, compile_expression
from scheduler.domain.template_values import measure, plain, to_text

__all__ = ["MAX_OUTPUT_CHARS", "MAX_TEMPLATE_CHARS", "TemplateError", "names", "render_native", "render_text"]

MAX_TEMPLATE_CHARS: Final = 16 * 1024
MAX_OUTPUT_CHARS: Final = 64 * 1024
MAX_VALUE_DEPTH: Final = 100

# Delimiters that no text can contain, for what we do not offer.
_ENVIRONMENT: Final = jinja2.Environment(
    block_start_string="\0{%",
    block_end_string="%}\0",
    comment_start_string="\0{#",
    comment_end_string="#}\0",
    keep_trailing_newline=True,
    autoescape=False,  # noqa: S701 - what is filled is argv, JSON and headers, never HTML
)


@dataclass(frozen=True, slots=True)
class _Template:
    parts: tuple[str | Evaluate, ...]
    names: frozenset[tuple[str, ...]]


def render_text(value: Any, scope: Mapping[str, Any]) -> Any:
    """Return ``value`` with every string in it filled; a filled string is text.

    Lists and mappings are walked, keys are left alone, and a string without ``{{`` comes back as
    it is. An empty value (null) fills as nothing, true and false as such, lists and mappings as JSON.

    Raises:
        TemplateError: wrong syntax, an undefined name, a value that does not fit a filter, a
            template above MAX_TEMPLATE_CHARS, or more output than MAX_OUTPUT_CHARS in one call.
    """
    return _Filler(scope, native=False).fill(value, 0)


def render_native(value: Any, scope: Mapping[str, Any]) -> Any:
    """Do as render_text, but a string that is exactly one ``{{ expression }}`` becomes its value."""
    return _Filler(scope, native=True).fill(value, 0)


def names(text: str) -> frozenset[tuple[str, ...]]:
    """Return the lookups that must be defined when ``text`` is filled, as paths: ``("params", "out")``.

    Lookups under ``default`` or ``is defined`` are not among them; a path ends where a key is
    computed.

    Raises:
        TemplateError: as render_text, as far as it can be known without values.
    """
    return _compile(text).names if "{{" in text else frozenset()


class _Filler:
    """One render call: the scope, and how much output is left."""

    def __init__(self, scope: Mapping[str, Any], *, native: bool) -> None:
        self.scope = scope
        self.native = native
        self.left = MAX_OUTPUT_CHARS

    def fill(self, value: Any, depth: int) -> Any:
        if isinstance(value, str):
            return self.fill_text(value) if "{{" in value else value
        if depth > MAX_VALUE_DEPTH:
            raise TemplateError(f"nested deeper than {MAX_VALUE_DEPTH}")
        if isinstance(value, Mapping):
            return {key: self.fill(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return type(value)([self.fill(item, depth + 1) for item in value])
        return value

    def fill_text(self, text: str) -> Any:
        parts = _compile(text).parts
        if self.native and len(parts) == 1 and not isinstance(parts[0], str):
            result = plain(parts[0](self.scope))
            self.left = measure(result, self.left)
            return result
        pieces = [part if isinstance(part, str) else to_text(part(self.scope), self.left) for part in parts]
        filled = "".join(pieces)
        self.left = measure(filled, self.left)
        return filled


@lru_cache(maxsize=4096)
def _compile(text: str) -> _Template:
    if len(text) > MAX_TEMPLATE_CHARS:
        raise TemplateError(f"a template of {len(text)} characters, at most {MAX_TEMPLATE_CHARS} are allowed")
    if "\0" in text:
        raise TemplateError("a template must not contain the NUL character")
    try:
        tree = _ENVIRONMENT.parse(text)
    except jinja2.TemplateSyntaxError as error:
        hint = "; for two braces as text write {{ '{{' }}" if "unexpected" in str(error.message) else ""
        raise TemplateError(f"wrong syntax in a template: {error.message}{hint}") from None
    except (ValueError, RecursionError, OverflowError):
        raise TemplateError("an expression that cannot be read: nested too deeply, or a number too large") from None
    lookups: set[tuple[str, ...]] = set()
    parts: list[str | Evaluate] = []
    for output in tree.body:
        if not isinstance(output, nodes.Output):
            raise TemplateError("only expressions are allowed in a template")
        for node in output.nodes:
            if isinstance(node, nodes.TemplateData):
                parts.append(node.data)
            else:
                parts.append(compile_expression(node, lookups))
    return _Template(tuple(parts), frozenset(lookups))
