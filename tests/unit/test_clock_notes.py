"""Notes about firings on days on which the clock is changed."""

from datetime import datetime

import pytest

from scheduler.domain.clock_notes import note_of, warn_of_dst
from scheduler.domain.dst import DstRules, plan_wall
from scheduler.domain.zones import zone
from schemas.trigger_model import DstSpec
from schemas.trigger_spec import CronTrigger
from schemas.vocabulary import FoldRule


@pytest.mark.parametrize(
    ("wall", "timezone", "notes"),
    [
        ("2026-03-07T02:30", "America/New_York", [None]),
        ("2026-03-08T02:30", "America/New_York", ["the clock skips 02:30; it runs right after the gap"]),
        ("2026-03-08T23:59", "America/New_York", ["the clock goes forward by 1h on this day"]),
        ("2026-11-01T01:00", "America/New_York", ["the first of two 01:00", "the second of two 01:00"]),
        ("2026-11-01T00:00", "America/New_York", ["the clock goes back by 1h on this day"]),
        ("2026-04-05T12:00", "Australia/Lord_Howe", ["the clock goes back by 30m on this day"]),
        # forward at midnight: the day before has its 24 hours
        ("2026-03-28T12:00", "Asia/Beirut", [None]),
        ("2026-03-29T12:00", "Asia/Beirut", ["the clock goes forward by 1h on this day"]),
        # back from midnight to 23:00: the day after has its 24 hours
        ("2026-10-24T12:00", "Asia/Beirut", ["the clock goes back by 1h on this day"]),
        ("2026-10-25T12:00", "Asia/Beirut", [None]),
        ("2011-12-30T12:00", "Pacific/Apia", ["the clock skips 12:00; it runs right after the gap"]),
        ("2026-06-01T00:00", "UTC", [None]),
    ],
)
def test_a_note_says_what_the_clock_does(wall, timezone, notes):
    found = plan_wall(datetime.fromisoformat(wall), zone(timezone), DstRules(fold=FoldRule.BOTH))
    assert notes == [note_of(at) for at in found]


@pytest.mark.parametrize(
    ("cron", "rules", "idle"),
    [
        ("*/15 1 * * *", {"fold": "first"}, "fold: first changes nothing"),
        ("0 * * * *", {"gap": "run_after", "fold": "second"}, "gap: run_after and fold: second changes nothing"),
        ("0 * * * *", {"gap": "skip", "fold": "both"}, None),
        ("0,15,30,45 1 * * *", {"gap": "run_after", "fold": "first"}, None),
    ],
)
def test_a_rule_that_changes_nothing_is_warned_of(cron, rules, idle):
    said = warn_of_dst(CronTrigger(cron=cron), DstSpec.model_validate(rules), hash_key="")
    assert said is None if idle is None else idle in said
