"""What becomes of planned instants: boundaries, and what it costs."""

from datetime import UTC, datetime, timedelta

import pytest

from scheduler.domain.counted_schedules import ListSchedule, SpanSchedule
from scheduler.domain.cron import parse_cron
from scheduler.domain.cron_schedule import CronSchedule
from scheduler.domain.firing import CatchUpRules, plan
from scheduler.domain.planned import planned
from scheduler.domain.zones import zone
from schemas.vocabulary import CatchUpPolicy, Verdict

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
HOURLY = SpanSchedule(NOON, HOUR, zone("UTC"))
EACH_MINUTE = SpanSchedule(NOON, MINUTE, zone("UTC"))


def sketch(plan_):
    """Return (hours after noon, verdict, count) of each row."""
    return [((row.fires_at - NOON) / HOUR, row.verdict, row.count) for row in plan_.rows]


def test_a_tick_in_time_starts_what_is_due_and_knows_the_next():
    step = plan(HOURLY, since=NOON, now=NOON + HOUR, rules=CatchUpRules())

    assert sketch(step) == [(1, None, 1)]
    assert (step.next_at, step.planned_until, step.used, step.more) == (NOON + 2 * HOUR, NOON + HOUR, 1, False)


def test_a_tick_too_early_plans_nothing():
    step = plan(HOURLY, since=NOON, now=NOON + HOUR - timedelta(microseconds=1), rules=CatchUpRules())
    assert (step.rows, step.next_at, step.planned_until) == ((), NOON + HOUR, NOON)


def test_a_clock_set_back_plans_nothing_again():
    step = plan(HOURLY, since=NOON + HOUR, now=NOON - HOUR, rules=CatchUpRules())
    assert (step.rows, step.next_at) == ((), NOON + 2 * HOUR)


@pytest.mark.parametrize("policy", CatchUpPolicy)
def test_a_busy_ticker_starts_each_punctual_firing_whatever_the_policy(policy):
    rules = CatchUpRules(policy=policy, punctual=3 * MINUTE)
    step = plan(EACH_MINUTE, since=NOON, now=NOON + 3 * MINUTE, rules=rules)
    assert [row.verdict for row in step.rows] == [None, None, None]


def test_exactly_punctual_is_punctual():
    def verdict(late: timedelta) -> Verdict | None:
        rules = CatchUpRules(policy=CatchUpPolicy.NONE)
        return plan(HOURLY, since=NOON, now=NOON + HOUR + late, rules=rules).rows[0].verdict

    assert verdict(CatchUpRules().punctual) is None
    assert verdict(CatchUpRules().punctual + timedelta(microseconds=1)) is Verdict.MISFIRED


@pytest.mark.parametrize("policy", [CatchUpPolicy.LATEST, CatchUpPolicy.ALL])
def test_exactly_at_the_end_of_the_window_still_starts(policy):
    rules = CatchUpRules(policy=policy, window=10 * MINUTE)

    inside = plan(HOURLY, since=NOON, now=NOON + HOUR + 10 * MINUTE, rules=rules)
    outside = plan(HOURLY, since=NOON, now=NOON + HOUR + 10 * MINUTE + timedelta(microseconds=1), rules=rules)

    assert sketch(inside) == [(1, None, 1)]
    assert sketch(outside) == [(1, Verdict.MISFIRED, 1)]


def test_a_window_shorter_than_punctual_wins():
    rules = CatchUpRules(window=timedelta(seconds=1))
    assert sketch(plan(HOURLY, since=NOON, now=NOON + HOUR + timedelta(seconds=2), rules=rules)) == [
        (1, Verdict.MISFIRED, 1)
    ]


def test_latest_merges_what_was_missed_into_the_newest():
    step = plan(HOURLY, since=NOON, now=NOON + 4.5 * HOUR, rules=CatchUpRules())
    assert sketch(step) == [(1, Verdict.MERGED, 3), (4, None, 1)]
    assert step.rows[0].to_at == NOON + 3 * HOUR


def test_a_punctual_firing_stands_for_all_that_were_missed():
    step = plan(HOURLY, since=NOON, now=NOON + 4 * HOUR + timedelta(seconds=2), rules=CatchUpRules())
    assert sketch(step) == [(1, Verdict.MERGED, 3), (4, None, 1)]


def test_latest_with_a_window_tells_misfired_from_merged():
    step = plan(HOURLY, since=NOON, now=NOON + 4.5 * HOUR, rules=CatchUpRules(window=2 * HOUR))
    assert sketch(step) == [(1, Verdict.MISFIRED, 2), (3, Verdict.MERGED, 1), (4, None, 1)]


def test_all_starts_the_newest_up_to_its_maximum():
    rules = CatchUpRules(policy=CatchUpPolicy.ALL, max_runs=2, window=3 * HOUR)
    step = plan(HOURLY, since=NOON, now=NOON + 5.5 * HOUR, rules=rules)
    assert sketch(step) == [(1, Verdict.MISFIRED, 2), (3, Verdict.MERGED, 1), (4, None, 1), (5, None, 1)]


def test_none_runs_nothing_that_was_missed():
    step = plan(HOURLY, since=NOON, now=NOON + 5.5 * HOUR, rules=CatchUpRules(policy=CatchUpPolicy.NONE))
    assert sketch(step) == [(1, Verdict.MISFIRED, 5)]
    assert step.used == 0


def test_after_a_resume_the_newest_missed_firing_starts():
    step = plan(HOURLY, since=NOON, now=NOON + 4.5 * HOUR, rules=CatchUpRules(), paused_until=NOON + 4.5 * HOUR)
    assert sketch(step) == [(1, Verdict.PAUSED, 3), (4, None, 1)]


@pytest.mark.parametrize("policy", [CatchUpPolicy.ALL, CatchUpPolicy.NONE])
def test_after_a_resume_the_other_policies_leave_the_pause_alone(policy):
    rules = CatchUpRules(policy=policy)
    step = plan(HOURLY, since=NOON, now=NOON + 4 * HOUR, rules=rules, paused_until=NOON + 4 * HOUR)
    assert sketch(step) == [(1, Verdict.PAUSED, 4)]


def test_a_firing_after_the_resume_makes_the_catch_up_superfluous():
    now = NOON + 4 * HOUR
    step = plan(HOURLY, since=NOON, now=now, rules=CatchUpRules(), paused_until=now - MINUTE)
    assert sketch(step) == [(1, Verdict.PAUSED, 3), (4, None, 1)]


def test_a_pause_longer_than_the_window_starts_nothing():
    rules = CatchUpRules(window=MINUTE)
    step = plan(HOURLY, since=NOON, now=NOON + 4.5 * HOUR, rules=rules, paused_until=NOON + 4.5 * HOUR)
    assert sketch(step) == [(1, Verdict.PAUSED, 4)]


def test_only_what_starts_counts_against_max_fires_and_the_last_one_ends_the_trigger():
    step = plan(HOURLY, since=NOON, now=NOON + 4.5 * HOUR, rules=CatchUpRules(), remaining=1)
    assert sketch(step) == [(1, Verdict.MERGED, 3), (4, None, 1)]
    assert (step.used, step.next_at, step.more) == (1, None, False)

    rules = CatchUpRules(policy=CatchUpPolicy.ALL)
    assert sketch(plan(HOURLY, since=NOON, now=NOON + 4.5 * HOUR, rules=rules, remaining=2)) == [
        (1, None, 1),
        (2, None, 1),
    ]
    assert plan(HOURLY, since=NOON, now=NOON + HOUR, rules=rules, remaining=0).rows == ()


def test_a_trigger_with_fires_left_goes_on():
    step = plan(HOURLY, since=NOON, now=NOON + HOUR, rules=CatchUpRules(), remaining=2)
    assert (step.used, step.next_at) == (1, NOON + 2 * HOUR)


def test_ten_years_of_outage_of_a_fast_interval_are_three_rows_at_once():
    schedule = SpanSchedule(NOON, timedelta(milliseconds=100), zone("UTC"))

    step = plan(schedule, since=NOON, now=NOON + timedelta(days=3650), rules=CatchUpRules(punctual=timedelta(0)))

    assert [(row.verdict, row.count) for row in step.rows] == [
        (Verdict.MISFIRED, 3643 * 864_000 - 1),
        (Verdict.MERGED, 7 * 864_000),
        (None, 1),
    ]


class Walked:
    """A schedule that can neither be counted nor is steady."""

    def __init__(self, inner):
        self._inner = inner

    def next_after(self, instant):
        return self._inner.next_after(instant)


def test_a_long_outage_of_what_must_be_walked_is_planned_in_bounded_steps():
    rules = CatchUpRules(limit=500)
    since, now, counts, verdicts = NOON, NOON + timedelta(days=1, seconds=45), 0, []

    more = True
    while more:
        step = plan(Walked(EACH_MINUTE), since=since, now=now, rules=rules)
        since, more = step.planned_until, step.more
        assert sum(row.count for row in step.rows) <= 500
        counts += sum(row.count for row in step.rows)
        verdicts += [row.verdict for row in step.rows]

    assert counts == 1440
    assert verdicts == [Verdict.MERGED, Verdict.MERGED, Verdict.MERGED, None]


def test_a_week_of_outage_of_a_cron_of_seconds_is_counted():
    """Without a visit to each second: that would take some seconds, for each trigger."""
    schedule = CronSchedule(parse_cron("* * * * * *", seconds=True), zone("Asia/Tokyo"))

    step = plan(schedule, since=NOON, now=NOON + timedelta(days=8), rules=CatchUpRules(punctual=timedelta(0)))

    assert [(row.verdict, row.count) for row in step.rows] == [
        (Verdict.MISFIRED, 86_400 - 1),
        (Verdict.MERGED, 7 * 86_400),
        (None, 1),
    ]
    assert step.rows[1].to_at == NOON + timedelta(days=8, seconds=-1)


def left_out(hours, verdict=Verdict.DST_GAP, times=1):
    return planned(NOON + hours * HOUR, zone("UTC"))._replace(skipped=verdict, times=times)


def fires(*hours):
    return [planned(NOON + hour * HOUR, zone("UTC")) for hour in hours]


@pytest.mark.parametrize("wrap", [ListSchedule, lambda times: Walked(ListSchedule(times))], ids=["counted", "walked"])
@pytest.mark.parametrize("policy", CatchUpPolicy)
def test_what_the_schedule_leaves_out_is_a_row_of_its_own_and_cuts_the_stretch(wrap, policy):
    schedule = wrap([*fires(1, 2), left_out(3, times=4), *fires(4, 5, 6)])

    step = plan(schedule, since=NOON, now=NOON + 5.5 * HOUR, rules=CatchUpRules(policy=policy, max_runs=1))

    missed = Verdict.MISFIRED if policy is CatchUpPolicy.NONE else Verdict.MERGED
    last = [(4, missed, 2)] if policy is CatchUpPolicy.NONE else [(4, missed, 1), (5, None, 1)]
    assert sketch(step) == [(1, missed, 2), (3, Verdict.DST_GAP, 4), *last]
    assert "gap: skip" in step.rows[1].reason
    assert step.rows[1].to_at is None


def test_the_newest_that_starts_is_never_one_that_is_left_out():
    schedule = ListSchedule(
        [*fires(1, 2), left_out(3, Verdict.SKIPPED_CALENDAR), left_out(4, Verdict.SKIPPED_CALENDAR)]
    )

    step = plan(schedule, since=NOON, now=NOON + 4 * HOUR, rules=CatchUpRules())

    assert sketch(step) == [
        (1, Verdict.MERGED, 1),
        (2, None, 1),
        (3, Verdict.SKIPPED_CALENDAR, 1),
        (4, Verdict.SKIPPED_CALENDAR, 1),
    ]
    assert (step.used, step.next_at) == (1, None)


def test_all_counts_its_maximum_without_what_is_left_out():
    schedule = ListSchedule([*fires(1, 2, 3), left_out(4), *fires(5)])
    rules = CatchUpRules(policy=CatchUpPolicy.ALL, max_runs=2)

    step = plan(schedule, since=NOON, now=NOON + 6 * HOUR, rules=rules)

    assert sketch(step) == [(1, Verdict.MERGED, 2), (3, None, 1), (4, Verdict.DST_GAP, 1), (5, None, 1)]


def test_what_is_left_out_does_not_use_up_max_fires():
    schedule = ListSchedule([left_out(1), *fires(2), left_out(3), *fires(4, 5)])
    rules = CatchUpRules(policy=CatchUpPolicy.ALL)

    step = plan(schedule, since=NOON, now=NOON + 6 * HOUR, rules=rules, remaining=2)

    assert sketch(step) == [(1, Verdict.DST_GAP, 1), (2, None, 1), (3, Verdict.DST_GAP, 1), (4, None, 1)]
    assert (step.used, step.next_at) == (2, None)


def test_what_is_left_out_stays_so_in_a_pause_and_beyond_the_window():
    schedule = ListSchedule([*fires(1), left_out(2), *fires(3, 4), left_out(5), *fires(6)])
    rules = CatchUpRules(window=1.5 * HOUR)

    step = plan(schedule, since=NOON, now=NOON + 6 * HOUR, rules=rules, paused_until=NOON + 3 * HOUR)

    assert sketch(step) == [
        (1, Verdict.PAUSED, 1),
        (2, Verdict.DST_GAP, 1),
        (3, Verdict.PAUSED, 1),
        (4, Verdict.MISFIRED, 1),
        (5, Verdict.DST_GAP, 1),
        (6, None, 1),
    ]


def test_more_starts_than_the_limit_come_in_steps():
    rules = CatchUpRules(policy=CatchUpPolicy.ALL, max_runs=5, limit=2)
    now = NOON + 7.5 * HOUR

    first = plan(HOURLY, since=NOON, now=now, rules=rules)

    assert sketch(first) == [(1, Verdict.MERGED, 2), (3, None, 1), (4, None, 1)]
    assert (first.more, first.next_at) == (True, NOON + 5 * HOUR)
