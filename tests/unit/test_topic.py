"""Topic matching as RabbitMQ does it."""

import itertools

import pytest

from scheduler.domain.topic import matches


@pytest.mark.parametrize(
    ("pattern", "key", "expected"),
    [
        ("#", "", True),
        ("#", "a.b.c", True),
        ("a.#", "a", True),
        ("#.a", "a", True),
        ("a.#.b", "a.b", True),
        ("a.#.b", "a.x.y.b", True),
        ("a.#.b", "a.x.y", False),
        ("*", "", False),
        ("*", "a", True),
        ("*", "a.b", False),
        ("a..b", "a..b", True),
        ("a.*.b", "a..b", True),
        ("a.b", "a..b", False),
        ("", "", True),
        ("", "a", False),
        ("#.#", "", True),
        ("*.#", "", False),
        ("*.#", "a.b", True),
        ("a", "b", False),
    ],
)
def test_a_pattern_takes_the_keys_rabbitmq_gives_it(pattern: str, key: str, *, expected: bool) -> None:
    assert matches(pattern, key) is expected


def by_definition(pattern: tuple[str, ...], key: tuple[str, ...]) -> bool:
    """Say it as the definition does, slowly."""
    if not pattern:
        return not key
    if pattern[0] == "#":
        return any(by_definition(pattern[1:], key[taken:]) for taken in range(len(key) + 1))
    return bool(key) and pattern[0] in ("*", key[0]) and by_definition(pattern[1:], key[1:])


def test_all_short_patterns_agree_with_the_definition() -> None:
    patterns = [words for size in (1, 2, 3) for words in itertools.product(("a", "*", "#", ""), repeat=size)]
    keys = [words for size in (1, 2, 3) for words in itertools.product(("a", "b", ""), repeat=size)]

    wrong = [
        (pattern, key)
        for pattern in patterns
        for key in keys
        if matches(".".join(pattern), ".".join(key))
        is not by_definition(pattern if pattern != ("",) else (), key if key != ("",) else ())
    ]

    assert wrong == []
