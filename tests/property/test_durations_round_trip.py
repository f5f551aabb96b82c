"""Durations: text and span say the same; no text does worse than a ValueError."""

import contextlib
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from schemas.durations import MAX_DURATION, format_duration, parse_duration, parse_interval

MAX_MS = MAX_DURATION // timedelta(milliseconds=1)


@given(st.integers(0, MAX_MS))
def test_a_written_duration_reads_back(milliseconds):
    span = timedelta(milliseconds=milliseconds)
    assert parse_duration(format_duration(span)) == span


@given(st.text() | st.text(alphabet="PT0123456789.wdhms month"))
def test_any_text_is_a_duration_or_a_value_error(text):
    with contextlib.suppress(ValueError):
        assert timedelta(0) <= parse_duration(text) <= MAX_DURATION
    with contextlib.suppress(ValueError):
        interval = parse_interval(text)
        assert bool(interval.months) != bool(interval.span)
