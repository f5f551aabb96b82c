"""When history is worked on: at two at night on the clocks of the zone, once a day, also when those are changed."""

from datetime import UTC, datetime, time

import pytest

from scheduler.config import Settings
from scheduler.domain.retention import next_pass


def after(text: str, zone: str = "UTC") -> str:
    plan = Settings.model_validate({}).retention.plan(zone)
    found = next_pass(plan, datetime.fromisoformat(text).replace(tzinfo=UTC))
    return found.astimezone(UTC).isoformat(timespec="minutes").removesuffix("+00:00")


def test_it_begins_at_two_where_nobody_says_otherwise() -> None:
    assert time(2) == Settings.model_validate({}).retention.at


@pytest.mark.parametrize(
    ("now", "zone", "begins"),
    [
        ("2026-11-21T01:59", "UTC", "2026-11-21T02:00"),
        ("2026-11-21T02:00", "UTC", "2026-11-22T02:00"),
        ("2026-11-21T12:00", "UTC", "2026-11-22T02:00"),
        ("2026-11-21T12:00", "Asia/Tokyo", "2026-11-21T17:00"),
        ("2026-11-21T12:00", "America/New_York", "2026-11-22T07:00"),
        ("2026-12-31T23:00", "Pacific/Kiritimati", "2027-01-01T12:00"),
        # Two o'clock is skipped: it begins when three strikes, once.
        ("2026-03-28T12:00", "Europe/Berlin", "2026-03-29T01:00"),
        ("2026-03-29T01:00", "Europe/Berlin", "2026-03-30T00:00"),
        # Two o'clock comes twice: the first one counts, and the second is none.
        ("2026-10-24T12:00", "Europe/Berlin", "2026-10-25T00:00"),
        ("2026-10-25T00:00", "Europe/Berlin", "2026-10-26T01:00"),
        ("2026-10-25T00:30", "Europe/Berlin", "2026-10-26T01:00"),
    ],
)
def test_the_next_pass_is_the_next_two_o_clock(now: str, zone: str, begins: str) -> None:
    assert begins == after(now, zone)
