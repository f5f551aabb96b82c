"""Several pytest processes side by side (``pytest -n``): what each of them keeps to itself, and what it takes first.

A worker has servers of its own, so that no test sees what another worker's tests do to theirs. They
end with the worker, and the worker with the pytest that made it, however that ends.
"""

import os
from collections import Counter

import pytest

from scheduler.sandbox.process_tree import die_with_parent

MOST = 16
"""How many workers find free ports without meeting."""


def number() -> int:
    """Return which worker this process is, counted from 0; 0 where there are none."""
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


def prepare(config: pytest.Config) -> None:
    """Tie a worker to its pytest, which otherwise only notices at its next report that it is alone."""
    if hasattr(config, "workerinput"):
        die_with_parent()


def order(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let the workers begin with the files of the most slow tests: a long one left to the end would run alone.

    Files stay whole and the tests in a file in their order.
    """
    if hasattr(config, "workerinput"):
        slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
        items.sort(key=lambda item: -slow[item.path])
