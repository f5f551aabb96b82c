import pytest

from scheduler.sandbox.results import RESULT_BYTES, UnusableResultError, parse_result, result_of


class Hostile(dict):
    def items(self):
        raise SystemError("no")


def nested(depth: int) -> list:
    value: list = []
    for _ in range(depth - 1):
        value = [value]
    return value


@pytest.mark.parametrize("value", [None, True, 0, 1.5, "text", [1, {"a": None}], nested(60)])
def test_json_is_a_result(value):
    assert result_of(value) == value


def test_a_result_is_detached_from_the_jobs_object():
    value = {"rows": [1, (2, 3)]}

    result = result_of(value)
    value["rows"].append(4)

    assert result == {"rows": [1, [2, 3]]}


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (object(), "not JSON"),
        (float("nan"), "not JSON"),
        ({"x": float("inf")}, "not JSON"),
        (Hostile(a=1), "not JSON"),
        ("\x00", "NUL"),
        ({"\ud800": 1}, "surrogate"),
        ("x" * RESULT_BYTES, "64 KiB"),
        (nested(70), "deeper"),
        (nested(100_000), "deeply"),
    ],
)
def test_what_no_store_takes_is_no_result(value, why):
    with pytest.raises(UnusableResultError, match=why):
        result_of(value)


@pytest.mark.parametrize("raw", [b"", b"{", b"NaN", b"1e999", b"\xff", b"[" * 50_000, b'"\\u0000"', b'"\\ud800"'])
def test_bytes_that_are_no_result(raw):
    with pytest.raises(UnusableResultError):
        parse_result(raw)
