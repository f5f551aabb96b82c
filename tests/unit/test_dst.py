"""Gap and fold rules: what a stated rule changes, for each kind of trigger."""

from datetime import UTC, datetime

import pytest

from scheduler.domain.dst import DstRules, plan_wall
from scheduler.domain.planned import PlannedInstant, next_firing
from scheduler.domain.schedule import build_schedule, check_trigger, is_counted
from scheduler.domain.zones import zone
from schemas.job_spec import JobSpec
from schemas.trigger_spec import AtTrigger, CronTrigger, EveryTrigger
from schemas.vocabulary import FoldRule, GapRule, Verdict

NEW_YORK = "America/New_York"
APIA = "Pacific/Apia"
SKIP = {"gap": "skip"}


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def build(trigger, timezone=NEW_YORK):
    return build_schedule(trigger, timezone=timezone, hash_key="default/job", anchor=utc("2026-01-01T00:00"))


def instants(schedule, since: str, count: int) -> list[str]:
    found, at = [], utc(since)
    while len(found) < count and (following := schedule.next_after(at)) is not None:
        at = following.fires_at
        left_out = f" {following.skipped} {following.times}x" if following.skipped else ""
        found.append(f"{at:%m-%dT%H:%M}{left_out}")
    return found


def cron(text: str, since: str, count: int, timezone: str = NEW_YORK, **dst: str) -> list[str]:
    return instants(build(CronTrigger(cron=text, dst=dst), timezone), since, count)


def test_a_gap_that_is_skipped_is_one_row_right_before_it():
    schedule = build(CronTrigger(cron="15,45 2 * * *", dst=SKIP))

    row = schedule.next_after(utc("2026-03-08T00:00"))

    before = datetime(2026, 3, 8, 6, 59, 59, 999999, tzinfo=UTC)
    assert row == PlannedInstant(before, "2026-03-08T02:15:00", NEW_YORK, Verdict.DST_GAP, 2)
    assert schedule.next_after(before).fires_at == utc("2026-03-09T06:15")
    assert next_firing(schedule, utc("2026-03-08T00:00")).fires_at == utc("2026-03-09T06:15")


@pytest.mark.parametrize(
    ("text", "fold", "expected"),
    [
        ("30 1 * * *", "first", ["11-01T05:30", "11-02T06:30"]),
        ("30 1 * * *", "second", ["11-01T06:30", "11-02T06:30"]),
        ("30 1 * * *", "both", ["11-01T05:30", "11-01T06:30", "11-02T06:30"]),
        ("0,30 1 * * *", "both", ["11-01T05:00", "11-01T05:30", "11-01T06:00", "11-01T06:30"]),
        ("30 0,1,2 * * *", "second", ["11-01T04:30", "11-01T06:30", "11-01T07:30"]),
    ],
)
def test_a_fixed_time_in_the_repeated_hour_fires_when_fold_says(text, fold, expected):
    assert expected == cron(text, "2026-11-01T00:00", len(expected), fold=fold)


@pytest.mark.parametrize(
    ("fold", "since", "expected"),
    [
        ("first", "2026-11-01T05:31", "11-02T06:30"),
        ("first", "2026-11-01T06:10", "11-02T06:30"),
        ("second", "2026-11-01T05:10", "11-01T06:30"),
        ("second", "2026-11-01T05:40", "11-01T06:30"),
        ("second", "2026-11-01T06:30", "11-02T06:30"),
        ("both", "2026-11-01T05:30", "11-01T06:30"),
        ("both", "2026-11-01T06:29", "11-01T06:30"),
    ],
)
def test_after_a_restart_within_the_repeated_hour(fold, since, expected):
    assert [expected] == cron("30 1 * * *", since, 1, fold=fold)


@pytest.mark.parametrize("text", ["*/30 * * * *", "*/30 1 * * *", "0 */1 * * *"])
@pytest.mark.parametrize("fold", FoldRule)
def test_wildcards_keep_their_pattern_whatever_fold_says(text, fold):
    assert cron(text, "2026-11-01T03:59", 8, fold=fold) == cron(text, "2026-11-01T03:59", 8)


def test_wildcards_never_run_after_a_gap_but_say_what_it_skipped():
    assert cron("*/15 2 * * *", "2026-03-08T06:00", 1, gap="run_after") == ["03-09T06:00"]
    assert cron("*/15 2 * * *", "2026-03-08T06:00", 2, **SKIP) == ["03-08T06:59 dst_gap 4x", "03-09T06:00"]
    assert cron("30 * * * *", "2026-03-08T06:30", 2, **SKIP) == ["03-08T06:59 dst_gap 1x", "03-08T07:30"]


def test_seconds_in_a_gap_are_counted_and_not_visited():
    schedule = build(CronTrigger(cron="* * * * * *", seconds=True, dst=SKIP), APIA)
    assert schedule.next_after(utc("2011-12-30T09:59:59")).times == 24 * 3600
    assert schedule.next_after(utc("2011-12-30T09:59:59")).wall_time == "2011-12-30T00:00:00"


@pytest.mark.parametrize(("text", "times"), [("0 12 * * *", 1), ("*/20 9-10 * * *", 6), ("0 0 31 12 *", 0)])
def test_a_day_left_out_is_a_correction_that_nothing_is_made_up_for(text, times):
    plain = cron(text, "2011-12-29T23:00", 2, APIA)
    assert plain == cron(text, "2011-12-29T23:00", 2, APIA, gap="run_after")
    row = [f"12-30T09:59 dst_gap {times}x"] if times else []
    assert cron(text, "2011-12-29T23:00", 2 + len(row), APIA, **SKIP) == row + plain


def test_months_keep_the_wall_time_of_an_anchor_in_a_gap():
    schedule = build(EveryTrigger(every="1 month", anchor="2026-03-08 02:30"))
    assert instants(schedule, "2026-03-01T00:00", 2) == ["03-08T07:00", "04-08T06:30"]


@pytest.mark.parametrize(
    ("dst", "counted", "expected"),
    [
        ({}, True, ["11-01T05:30", "12-01T06:30"]),
        ({"fold": "second"}, True, ["11-01T06:30", "12-01T06:30"]),
        ({"fold": "both"}, False, ["11-01T05:30", "11-01T06:30", "12-01T06:30"]),
    ],
)
def test_months_follow_fold(dst, counted, expected):
    schedule = build(EveryTrigger(every="1 month", anchor="2026-10-01 01:30", dst=dst))
    assert instants(schedule, "2026-10-15T00:00", len(expected)) == expected
    assert is_counted(schedule) is counted


def test_months_in_a_gap_can_be_left_out_and_still_count():
    schedule = build(EveryTrigger(every="1 month", anchor="2026-02-08 02:30", dst=SKIP))
    assert instants(schedule, "2026-02-01T00:00", 3) == ["02-08T07:30", "03-08T06:59 dst_gap 1x", "04-08T06:30"]
    assert schedule.index_after(utc("2026-03-09T00:00")) == 2


def test_times_in_one_gap_are_one_row():
    trigger = AtTrigger(at=["2026-03-08 02:45", "2026-03-08 02:15", "2026-03-08T07:00:00Z"], dst=SKIP)
    schedule = build(trigger)
    assert instants(schedule, "2026-01-01T00:00", 9) == ["03-08T06:59 dst_gap 2x", "03-08T07:00"]
    assert schedule.next_after(utc("2026-01-01T00:00")).wall_time == "2026-03-08T02:15:00"


def test_a_time_given_with_its_offset_is_never_skipped_nor_repeated():
    trigger = AtTrigger(at=["2026-11-01T05:30:00Z", "2026-03-08T07:00:00Z"], dst={"gap": "skip", "fold": "both"})
    assert instants(build(trigger), "2026-01-01T00:00", 9) == ["03-08T07:00", "11-01T05:30"]


def test_a_single_time_on_a_day_left_out_is_made_up_for():
    assert instants(build(AtTrigger(at="2011-12-30 12:00"), APIA), "2011-01-01T00:00", 2) == ["12-30T10:00"]


@pytest.mark.parametrize(
    ("fold", "expected"),
    [
        (None, ["11-01T05:30"]),
        ("second", ["11-01T06:30"]),
        ("both", ["11-01T05:30", "11-01T06:00", "11-01T06:30"]),
    ],
)
def test_borders_in_the_repeated_hour_follow_fold(fold, expected):
    bounds = {"starts_at": "2026-11-01 01:30", "ends_at": "2026-11-01 01:30"}
    trigger = CronTrigger(cron="*/30 * * * *", dst={"fold": fold}, **bounds)
    assert instants(build(trigger), "2026-10-01T00:00", 9) == expected


def test_a_skipped_border_is_the_instant_after_the_gap():
    trigger = CronTrigger(cron="*/30 * * * *", dst=SKIP, starts_at="2026-03-08 02:10", ends_at="2026-03-08 02:50")
    assert instants(build(trigger), "2026-01-01T00:00", 9) == ["03-08T07:00"]


def test_a_trigger_whose_every_time_is_skipped_never_fires():
    """The second Sunday of March is when the clocks of New York go forward."""
    words = {"cron": "30 2 8-14 3 0", "day_match": "all"}
    check_trigger(CronTrigger(**words), timezone=NEW_YORK)
    with pytest.raises(ValueError, match="never fires"):
        check_trigger(CronTrigger(**words, dst=SKIP, starts_at="2007-01-01 00:00"), timezone=NEW_YORK)


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (DstRules(), [("2026-04-04T14:45", None)]),
        (DstRules(fold=FoldRule.SECOND), [("2026-04-04T15:15", None)]),
        (DstRules(fold=FoldRule.BOTH), [("2026-04-04T14:45", None), ("2026-04-04T15:15", None)]),
    ],
)
def test_a_wall_time_is_planned_by_its_rules(rules, expected):
    wall = datetime(2026, 4, 5, 1, 45)  # noqa: DTZ001 - a wall time
    found = plan_wall(wall, zone("Australia/Lord_Howe"), rules)
    assert [(utc(at), skipped) for at, skipped in expected] == [(at.fires_at, at.skipped) for at in found]


def job(**keys):
    return JobSpec(run={"handler": "x"}, **keys)


def test_the_rules_of_the_job_complete_those_of_its_triggers():
    spec = job(
        dst={"gap": "skip", "fold": "both"},
        triggers=[{"cron": "0 1 * * *"}, {"cron": "0 2 * * *", "dst": {"fold": "second"}}],
    )

    assert [(t.dst.gap, t.dst.fold) for t in spec.triggers] == [
        (GapRule.SKIP, FoldRule.BOTH),
        (GapRule.SKIP, FoldRule.SECOND),
    ]
    assert JobSpec.model_validate(spec.model_dump(mode="json", exclude_defaults=True)) == spec


def test_a_trigger_keeps_its_key_when_its_rules_change():
    plain, ruled = job(triggers=[{"cron": "0 1 * * *"}]), job(dst=SKIP, triggers=[{"cron": "0 1 * * *"}])
    assert plain.triggers[0].key == ruled.triggers[0].key
