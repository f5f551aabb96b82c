"""What of the store commands, the HTTP interface and the client use."""

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
READING = re.compile(
    r"(list|get|find|count|measure|ask|read|check|wait|has|is|load|hold|show)_|rehearse$|foresee$|last_pass$|feed_end$|connect$"
)
"""Functions that change nothing, by their verbs."""


def changing() -> set[str]:
    """Return the functions that somebody can ask for, without those that change nothing."""
    return {name for name in _asked_for() if not READING.match(name)}


def _asked_for() -> Iterator[str]:
    asking = [path for part in ("api", "cli", "client") for path in (ROOT / "scheduler" / part).glob("*.py")]
    for path in (*asking, ROOT / "scheduler" / "embedded_scheduler.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("scheduler.store"):
                for alias in node.names:
                    yield from _functions_of(tree, node.module or "", alias.name)


def _functions_of(tree: ast.AST, module: str, name: str) -> Iterator[str]:
    if module == "scheduler.store":
        attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
        used = {node.attr for node in attributes if isinstance(node.value, ast.Name) and node.value.id == name}
        for attribute in used:
            yield from _functions_of(tree, f"{module}.{name}", attribute)
    elif inspect.iscoroutinefunction(getattr(importlib.import_module(module), name, None)):
        yield name
