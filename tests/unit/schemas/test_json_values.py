"""What is storable JSON."""

import pytest

from schemas.json_values import MAX_JSON_DEPTH, check_json


def nested(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("value", [None, True, 1, 1.5, "x😀", [], {}, {"a": [1, {"b": None}]}, nested(MAX_JSON_DEPTH)])
def test_json_is_taken(value):
    check_json(value)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("inf"), "infinite"),
        ([{"a": float("nan")}], "infinite or undefined"),
        ("a\0", "NUL"),
        ({"\ud800": 1}, "surrogate"),
        ({1: 2}, "key is not text"),
        ({"a": {1, 2}}, "type set"),
        (nested(MAX_JSON_DEPTH + 1), "deeper than 64"),
        (nested(100_000), "deeper than 64"),
    ],
)
def test_the_rest_is_refused(value, reason):
    with pytest.raises(ValueError, match=reason):
        check_json(value)
