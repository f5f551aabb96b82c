"""How long a chain of runs is, as headers say it."""

from typing import Any

import pytest

from scheduler.domain.causation import DEPTH_HEADER, depth_as_header, depth_of


@pytest.mark.parametrize(
    ("said", "depth"), [("3", 3), ("9999", 9999), ("", 0), ("-1", 0), ("12345", 0), ("\u0663", 0), (3, 0), (None, 0)]
)
def test_nonsense_is_no_depth(said: Any, depth: int) -> None:
    assert depth == depth_of({DEPTH_HEADER: said})


def test_who_says_none_has_none() -> None:
    assert depth_of(None) == depth_of({}) == 0


def test_an_event_keeps_of_its_request_what_can_be_read() -> None:
    assert depth_as_header({DEPTH_HEADER: "2", "cookie": "x"}) == {DEPTH_HEADER: "2"}
    assert depth_as_header({DEPTH_HEADER: "x"}) == {}
