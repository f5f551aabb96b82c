"""Cron expressions: what they mean, and what is refused."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from scheduler.domain.cron import parse_cron
from scheduler.domain.cron_schedule import CronSchedule
from scheduler.domain.dst import rules_of
from scheduler.domain.planned import next_firing
from scheduler.domain.zones import zone
from schemas.trigger_model import DstSpec


def vectors():
    tables = [Path(__file__).parent / name for name in ("cron_vectors.txt", "cron_vectors_of_others.txt")]
    for line in (line for table in tables for line in table.read_text(encoding="utf-8").splitlines()):
        if line and not line.startswith("#"):
            text, options, tz, since, expected = (part.strip() for part in line.split("|"))
            yield pytest.param(text, options.split(), tz, since, expected.split(), id=f"{text} {options} {tz} {since}")


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(("text", "options", "tz", "since", "expected"), list(vectors()))
def test_an_expression_fires_when_the_table_says(text, options, tz, since, expected):
    fields = parse_cron(text, seconds="seconds" in options, day_match="all" if "all" in options else "any")
    rules = DstSpec.model_validate(dict(option.split("=") for option in options if "=" in option))
    schedule = CronSchedule(fields, zone(tz), rules_of(rules))

    fired, at = [], instant(since)
    for _ in expected:
        following = next_firing(schedule, at)
        assert following is not None
        at = following.fires_at
        fired.append(at)

    assert [instant(text) for text in expected] == fired


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("60 * * * *", "minute field: '60' is out of range; allowed are 0-59"),
        ("* 24 * * *", "hour field: '24'"),
        ("* * 0 * *", "day field: '0' is out of range; allowed are 1-31"),
        ("* * * 13 *", "month field: '13' is out of range; allowed are 1-12 or JAN-DEC"),
        ("* * * * 8", "weekday field: '8' is out of range; allowed are 0-7 or SUN-SAT"),
        ("* * * foo *", "month field: 'FOO' has an unknown name"),
        ("* * * mon *", "month field: 'MON' has an unknown name"),
        ("jan * * * *", "minute field: 'JAN' has an unknown name"),
        ("0 0 1 jna *", "; did you mean JAN?"),
        ("0 0 1 january *", "month field: 'JANUARY' is not understood; allowed are 1-12 or JAN-DEC"),
        ("0 0 * * monday", "; did you mean MON?"),
        ("0 0 * * mon-fir", "; did you mean FRI?"),
        ("@dayly", "@hourly; did you mean @daily?"),
        ("R * * * *", "H is stable"),
        ("R(0-9) * * * *", "H is stable"),
        ("0 22-4 * * *", "hour field: '22-4' runs backwards"),
        ("0 0 * * FRI-MON", "weekday field: 'FRI-MON' runs backwards"),
        ("30-20 * * * *", "runs backwards"),
        ("H(20-10) * * * *", "runs backwards"),
        ("*/61 * * * *", "minute field: '*/61' has a step outside the field; allowed are steps of 1-60"),
        ("*/0 * * * *", "steps of 1-60"),
        ("0 0 * * Mon/2", "has a step on a single weekday"),
        ("0 0 * * 1/2", "has a step on a single weekday"),
        ("0 0 * * */8", "steps of 1-7"),
        ("0 0 LW * *", "a `calendar` trigger says it"),
        ("0 0 15W * *", "a `calendar` trigger says it"),
        ("0 0 L-3 * *", "a `calendar` trigger says it"),
        ("0 0 * * L", "needs a weekday, as in 5L"),
        ("L * * * *", "minute field: 'L'"),
        ("0 0 * * 5#6", "#1 to #5"),
        ("0 0 * * 5#0", "#1 to #5"),
        ("? * * * *", "minute field: '?'"),
        ("1,,2 * * * *", "minute field: ''"),
        ("1- * * * *", "minute field: '1-'"),
        ("-1 * * * *", "minute field: '-1'"),
        ("** * * * *", "minute field: '**'"),
        ("1.5 * * * *", "minute field: '1.5'"),
        ("0 0 30 2 *", "never fires"),
        ("0 0 31 2,4,6,9,11 *", "never fires"),
        ("0 0 * * * 2026", "has 6 fields; allowed are 5"),
        ("* * * *", "has 4 fields"),
        ("", "has 0 fields"),
        ("0 0 1 1 * * 2026", "there is no year"),
        ("@reboot", "no cron macro"),
        ("@every 5m", "no cron macro"),
        ("* * * * ١", "not plain ASCII"),
        ("*\u00a0* * * *", "not plain ASCII"),
        ("* * * *\n*", "not plain ASCII"),
        ("0," * 200 + "0 * * * *", "at most 256"),
    ],
)
def test_a_refusal_names_the_field_the_text_and_what_is_allowed(text, says):
    with pytest.raises(ValueError, match=re.escape(says)) as refusal:
        parse_cron(text)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("text", ["0 9 1 * 5#2", "0 0 20 * mon#1", "0 0 L * 5#2"])
def test_both_day_fields_that_never_meet_are_refused_only_when_both_are_needed(text):
    assert parse_cron(text).union
    with pytest.raises(ValueError, match="never fires"):
        parse_cron(text, day_match="all")


def test_six_fields_need_to_be_asked_for():
    assert parse_cron("30 * * * * *", seconds=True).seconds == (30,)
    with pytest.raises(ValueError, match="has 5 fields; allowed are 6"):
        parse_cron("* * * * *", seconds=True)


def test_hashed_values_are_the_same_for_ever_and_differ_between_jobs():
    """These values move users' jobs if they change: they are part of the promise."""
    assert parse_cron("H H * * *", hash_key="default/backup").minutes == (49,)
    assert parse_cron("H H * * *", hash_key="default/backup").hours == (5,)
    minutes = {parse_cron("H * * * *", hash_key=f"default/job-{n}").minutes for n in range(50)}
    assert len(minutes) > 20


def test_hashed_values_stay_in_their_range_and_keep_their_step():
    for n in range(50):
        fields = parse_cron("H(10-19) H/6 H H H", hash_key=f"t/{n}")
        assert 10 <= fields.minutes[0] <= 19
        assert len(fields.hours) == 4
        assert {b - a for a, b in zip(fields.hours, fields.hours[1:], strict=False)} == {6}
        assert max(fields.days) <= 28
        assert fields.weekdays <= set(range(7))


@pytest.mark.parametrize(
    ("text", "wild"),
    [
        ("30 2 * * *", False),
        ("0 2,14 * * *", False),
        ("0 1-5 * * *", False),
        ("H H * * *", False),
        ("0 * * * *", True),
        ("0 */2 * * *", True),
        ("0 0-23/2 * * *", True),
        ("*/5 2 * * *", True),
        ("* 2 * * *", True),
    ],
)
def test_a_star_or_a_step_makes_an_expression_follow_the_wall_clock(text, wild):
    assert parse_cron(text).wild is wild


def test_equal_texts_are_parsed_once():
    assert parse_cron("1 2 3 4 *", hash_key="a") is parse_cron("1 2 3 4 *", hash_key="b")
