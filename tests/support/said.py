"""What the programs of a failed test wrote into their log files, said with its failure."""

from collections.abc import Generator
from pathlib import Path

import pytest

_FILES = 12
_LINES = 40


@pytest.hookimpl(wrapper=True)
def report(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the ends of the newest ``*.log`` files below the test's folder to the report of its failure."""
    made = yield
    folder = getattr(item, "funcargs", {}).get("tmp_path")
    if made.failed and isinstance(folder, Path):
        logs = sorted((log for log in folder.rglob("*.log") if log.is_file()), key=lambda log: log.stat().st_mtime)
        made.sections += [(f"end of {log.name}", _end(log)) for log in logs[-_FILES:]]
    return made


def _end(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-_LINES:])
