"""The ports that tests give to what they start."""

from tests.support.services import free_port


def test_no_port_is_given_again_while_what_got_it_may_not_have_taken_it_yet() -> None:
    """Four actors of one test get theirs before the first of them listens."""
    given = [free_port() for _ in range(400)]

    assert len({*given}) == len(given)
