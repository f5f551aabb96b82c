"""How many of many refusals get a row of the audit log, and that none goes uncounted."""

from uuid import UUID

import pytest

from scheduler.api.denials import Denials, by_of, request_id_of
from scheduler.domain.access import Caller, Role
from scheduler.domain.audit import plain

FRESH = UUID(int=7)


def test_the_first_refusals_of_a_caller_get_rows_then_one_a_minute_with_the_number_of_all() -> None:
    denials = Denials()

    first = [denials.admit("a", 0.0) for _ in range(1000)]

    assert ([1] * 10, {0}) == (first[:10], set(first[10:]))
    assert 991 == denials.admit("a", 61.0)
    assert 0 == denials.admit("a", 62.0)
    assert 1 == denials.admit("b", 62.0)


def test_a_flood_of_many_callers_is_bounded_and_counted_too() -> None:
    denials = Denials()

    rows = [denials.admit(f"caller {n}", 0.0) for n in range(50_000)]

    assert 100 == sum(rows)
    assert [1, 1] == [denials.admit(f"other {n}", 4.0) for n in range(2)]
    assert 0 == denials.admit("other", 4.0)
    assert 2 == denials.admit("caller 49999", 6.0)


@pytest.mark.parametrize("given", [None, "", "two words", "a\nb", "é", "x" * 129])
def test_an_id_that_is_no_plain_word_is_replaced(given: str | None) -> None:
    assert str(FRESH) == request_id_of(given, FRESH)
    assert "req-1" == request_id_of("req-1", FRESH)


def test_who_asks_is_named_by_their_credential() -> None:
    caller = Caller("t", "x", frozenset({Role.ADMIN}), "jwt some one\0", runs_installation=False)

    by = by_of(caller, "10.0.0.1", "r")

    assert ("jwt:some one\\0", "t", "10.0.0.1", "r") == (by.actor, by.tenant, by.address, by.request_id)


def test_what_strangers_say_can_be_stored() -> None:
    assert "\\ud800a\\0" == plain("\ud800a\0")
    assert 200 == len(plain("\ud800" * 300))
