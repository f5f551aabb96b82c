"""The pages of commands and settings are those that the program would write."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def _pages():
    spec = importlib.util.spec_from_file_location("generate_reference", ROOT / "docs" / "generate_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.PAGES


PAGES = _pages()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_the_program_says(name: str) -> None:
    written = (ROOT / name).read_text(encoding="utf-8")

    assert PAGES[name]() == written, "run python docs/generate_reference.py"
