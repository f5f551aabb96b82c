"""The days of cron expressions, and the warning about both day fields."""

from datetime import UTC, date, datetime
from itertools import islice

import pytest

from scheduler.domain.cron import parse_cron
from scheduler.domain.cron_days import days_from, warn_of_union
from schemas.trigger_spec import CronTrigger

NOW = datetime(2026, 11, 30, 15, 30, tzinfo=UTC)


def warning(trigger: CronTrigger, timezone: str = "UTC") -> str | None:
    return warn_of_union(trigger, timezone=timezone, hash_key="default/job", now=NOW)


def test_days_go_on_over_months_and_years_and_begin_with_the_first():
    days = days_from(parse_cron("0 0 31 1,12 *"), date(2026, 12, 31))
    assert [str(day) for day in islice(days, 4)] == ["2026-12-31", "2027-01-31", "2027-12-31", "2028-01-31"]


def test_days_end():
    assert len(list(days_from(parse_cron("0 0 1 1 *"), date(2026, 1, 2)))) == 49


def test_the_dates_are_those_of_the_zone():
    said = warning(CronTrigger(cron="0 0 1 * 1"), "Asia/Tokyo")
    assert said is not None
    assert "it fires on Tue 2026-12-01, Mon 2026-12-07, Mon 2026-12-14, Mon 2026-12-21, Mon 2026-12-28;" in said


@pytest.mark.parametrize(
    "trigger",
    [
        CronTrigger(cron="0 0 1 * 1", day_match="any"),
        CronTrigger(cron="0 0 1 * 1", day_match="all"),
        CronTrigger(cron="0 0 */2 * 1"),
        CronTrigger(cron="0 0 1 * *"),
        CronTrigger(cron="@weekly"),
    ],
)
def test_what_is_stated_or_plain_is_not_warned_of(trigger):
    assert warning(trigger) is None
