"""Durations and intervals as text."""

from datetime import timedelta

import pytest

from schemas.durations import Interval, format_duration, parse_duration, parse_interval


@pytest.mark.parametrize(
    ("text", "span", "canonical"),
    [
        ("500ms", timedelta(milliseconds=500), "500ms"),
        ("10s", timedelta(seconds=10), "10s"),
        ("5m", timedelta(minutes=5), "5m"),
        ("6h", timedelta(hours=6), "6h"),
        ("2d", timedelta(days=2), "2d"),
        ("1w", timedelta(days=7), "7d"),
        ("1h30m", timedelta(minutes=90), "1h30m"),
        ("90m", timedelta(minutes=90), "1h30m"),
        ("1.5h", timedelta(minutes=90), "1h30m"),
        ("0s", timedelta(0), "0s"),
        ("1d2h3m4s5ms", timedelta(days=1, hours=2, minutes=3, seconds=4, milliseconds=5), "1d2h3m4s5ms"),
        ("PT15M", timedelta(minutes=15), "15m"),
        ("P1DT12H", timedelta(days=1, hours=12), "1d12h"),
        ("P2W", timedelta(days=14), "14d"),
        ("PT0.25S", timedelta(milliseconds=250), "250ms"),
    ],
)
def test_a_duration_is_read_and_written_in_one_way(text, span, canonical):
    assert parse_duration(text) == span
    assert format_duration(span) == canonical


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("30", "has no unit"),
        ("1.5", "has no unit"),
        ("1 month", "no fixed length"),
        ("P1M", "no fixed length"),
        ("1m1h", "is no duration"),
        ("1h1h", "is no duration"),
        ("-5m", "is negative"),
        ("-5", "is negative"),
        ("5 m", "is no duration"),
        ("5min", "is no duration"),
        ("5M", "is no duration"),
        ("P", "is no duration"),
        ("PT", "is no duration"),
        ("", "is no duration"),
        ("٥s", "is no duration"),
        ("5s\n", "is no duration"),
        ("9" * 100 + "s", "is no duration"),
        ("99999999d", "is longer than 36500d"),
        ("0.0001s", "finer than a millisecond"),
    ],
)
def test_what_is_no_duration_is_refused_in_words(text, reason):
    with pytest.raises(ValueError, match=reason):
        parse_duration(text)


@pytest.mark.parametrize("span", [timedelta(microseconds=1), timedelta(seconds=-1)])
def test_a_span_without_text_is_refused(span):
    with pytest.raises(ValueError, match="whole milliseconds"):
        format_duration(span)


@pytest.mark.parametrize(
    ("text", "interval", "canonical"),
    [
        ("15m", Interval(span=timedelta(minutes=15)), "15m"),
        ("1 month", Interval(months=1), "1 month"),
        ("3 months", Interval(months=3), "3 months"),
        ("1 year", Interval(months=12), "12 months"),
        ("P1M", Interval(months=1), "1 month"),
        ("P1Y6M", Interval(months=18), "18 months"),
        ("PT1M", Interval(span=timedelta(minutes=1)), "1m"),
    ],
)
def test_an_interval_is_a_span_or_whole_months(text, interval, canonical):
    assert parse_interval(text) == interval
    assert str(interval) == canonical
    assert parse_interval(canonical) == interval


@pytest.mark.parametrize("text", ["0s", "99ms", "0 months", "9999 months", "1 fortnight", "5", "P1M2D"])
def test_what_is_no_interval_is_refused(text):
    with pytest.raises(ValueError, match=text):
        parse_interval(text)
