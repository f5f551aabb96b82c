"""Cursors open the list they were made for, and nothing else."""

from uuid import UUID

import pytest

from scheduler.api.cursors import make_cursor, read_cursor
from scheduler.api.problems import ProblemError

SECRET = b"s" * 32
LAST = UUID(int=7)


def test_a_cursor_says_where_to_go_on() -> None:
    filters = {"job": "a", "states": ["failed"]}

    assert read_cursor(SECRET, "t", filters, make_cursor(SECRET, "t", filters, LAST)) == LAST
    assert read_cursor(SECRET, "t", filters, None) is None


@pytest.mark.parametrize(
    ("secret", "tenant", "filters"),
    [(b"o" * 32, "t", {"job": "a"}), (SECRET, "u", {"job": "a"}), (SECRET, "t", {"job": "b"}), (SECRET, "t", {})],
)
def test_with_anything_else_it_is_refused(secret: bytes, tenant: str, filters: dict[str, str]) -> None:
    cursor = make_cursor(SECRET, "t", {"job": "a"}, LAST)

    with pytest.raises(ProblemError):
        read_cursor(secret, tenant, filters, cursor)


@pytest.mark.parametrize("at", range(43))
def test_no_letter_of_it_may_be_another(at: int) -> None:
    cursor = make_cursor(SECRET, "t", {}, LAST)
    altered = cursor[:at] + ("A" if cursor[at] != "A" else "B") + cursor[at + 1 :]

    with pytest.raises(ProblemError):
        read_cursor(SECRET, "t", {}, altered)


@pytest.mark.parametrize("cursor", ["", "=", "é", "A" * 128, "-_-_"])
def test_what_is_none_is_refused(cursor: str) -> None:
    with pytest.raises(ProblemError):
        read_cursor(SECRET, "t", {}, cursor)
