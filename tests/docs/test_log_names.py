"""The names of log lines are a closed list: what the code says and what the page explains are the same."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from scheduler import run_lines

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8").split("\n## Logs\n")[1].split("\n## ")[0]
ROW = re.compile(r"^\| ((?:`[a-z_]+\.[a-z_]+`(?:, )?)+) \| ([a-z, ]+) \|", re.MULTILINE)
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}


def said(path: Path) -> Iterator[tuple[str, str]]:
    """Yield name and level of each line that a module logs, also where the level is chosen by a condition."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and node.args:
            for function in either(node.func):
                if isinstance(function, ast.Attribute) and function.attr in LEVELS and is_log(function.value):
                    level = "error" if function.attr == "exception" else function.attr
                    yield from (
                        (str(name.value), level) for name in either(node.args[0]) if isinstance(name, ast.Constant)
                    )


def either(node: ast.expr) -> list[ast.expr]:
    return [node.body, node.orelse] if isinstance(node, ast.IfExp) else [node]


def is_log(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "log"


@cache
def in_code() -> set[tuple[str, str]]:
    found = {
        fact for package in ("scheduler", "actors") for path in (ROOT / package).rglob("*.py") for fact in said(path)
    }
    explained = {fact for fact in found if fact[1] != "debug"}
    return explained | {(name, level) for name, (level, _) in run_lines.NAMES.items()}


ON_PAGE = {
    (name, level)
    for names, levels in ROW.findall(PAGE)
    for name in re.findall(r"[a-z_]+\.[a-z_]+", names)
    for level in levels.split(", ")
}


def test_every_line_that_is_logged_is_explained_and_no_other() -> None:
    assert {name for name, _ in in_code()} == {name for name, _ in ON_PAGE}


def test_its_level_is_one_that_the_page_names() -> None:
    assert set() == in_code() - ON_PAGE


def test_the_keys_of_lines_about_runs_are_on_the_page() -> None:
    assert set(run_lines.KEYS) <= set(re.findall(r"`([a-z_]+)`", PAGE))
