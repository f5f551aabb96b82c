"""Offers of short jobs travel in lists, those of long ones never wait in a list for a busy executor."""

import pytest

from actors.offers import list_size
from scheduler.store.offering import Filled
from tests.support.executing import offer


@pytest.mark.parametrize(
    ("offers", "executors", "slots", "elapsed_s", "expected"),
    [
        pytest.param(400, 1, 200, 0.001, 50, id="short: whole lists"),
        pytest.param(400, 1, 200, 0.09, 50, id="short jobs on a busy machine look longer, and still travel in lists"),
        pytest.param(400, 1, 200, 1.0, 20, id="as many as get free slots in a tenth of a second"),
        pytest.param(10, 1, 5, 1.0, 1, id="long jobs, few slots: each alone"),
        pytest.param(10, 2, 10, 60.0, 1, id="long jobs, two executors: each alone"),
        pytest.param(40, 4, 40, 0.0, 10, id="each executor gets its share"),
        pytest.param(400, 1, 200, None, 50, id="unknown, one executor: several lists"),
        pytest.param(10, 1, 5, None, 2, id="unknown, few slots: short lists"),
        pytest.param(3, 2, 10, None, 1, id="unknown, fewer offers than lists: each alone"),
        pytest.param(1, 0, 0, None, 1, id="no executor is known"),
    ],
)
def test_a_list_holds_what_an_executor_starts_soon(
    offers: int, executors: int, slots: int, elapsed_s: float | None, expected: int
) -> None:
    filled = Filled([offer() for _ in range(offers)], executors, slots)
    assert list_size(filled, elapsed_s) == expected
