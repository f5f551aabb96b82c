"""Triggers that share rule and cursor get one plan, and it is the one that each of them would get alone."""

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from scheduler.domain.calendar_sources import resolve_calendars
from scheduler.domain.firing import CatchUpRules, plan
from scheduler.domain.planned import PlannedInstant, Schedule
from scheduler.domain.schedule import build_schedule
from scheduler.domain.shared_plans import SharedPlans
from schemas.calendar_spec import CalendarSpec
from schemas.calendar_trigger import CalendarTrigger
from schemas.trigger_spec import AtTrigger, CronTrigger, EveryTrigger
from schemas.vocabulary import CatchUpPolicy

NOW = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)  # in Berlin the clocks went forward half an hour ago
HOUR = timedelta(hours=1)
TRIGGERS = (
    CronTrigger(cron="30 2 * * *"),
    CronTrigger(cron="30 2 * * *", dst={"gap": "skip"}),
    CronTrigger(cron="*/7 * * * *", jitter="1m"),
    CronTrigger(cron="H H * * *"),
    EveryTrigger(every="20m"),
    EveryTrigger(every="1 month", anchor="2026-01-31 02:30"),
    AtTrigger(at="2026-03-29T01:00:00Z"),
    CalendarTrigger(calendar={"business_day": "every", "at": "02:30", "calendar": "own"}),
)
CALENDARS = resolve_calendars({"own": CalendarSpec(closed=["2026-03-27"])}, [])


def build(trigger: CronTrigger | EveryTrigger | AtTrigger | CalendarTrigger, job: str = "a") -> Schedule:
    return build_schedule(
        trigger, timezone="Europe/Berlin", hash_key=f"t/{job}", anchor=NOW - 9 * HOUR, calendars=CALENDARS
    )


class Asked:
    """A schedule that fires each hour and counts how often it is asked."""

    def __init__(self) -> None:
        self.times = 0

    def next_after(self, instant: datetime) -> PlannedInstant:
        self.times += 1
        at = instant.replace(minute=0, second=0, microsecond=0) + HOUR
        return PlannedInstant(at, at.replace(tzinfo=None).isoformat(), "UTC")


@pytest.mark.parametrize("trigger", TRIGGERS, ids=lambda trigger: trigger.key)
def test_each_gets_the_plan_that_it_would_get_alone(trigger):
    shared = SharedPlans(NOW)
    schedules = [build(trigger), build(trigger, "b")]
    cases = product(
        schedules,
        [NOW - 30 * HOUR, NOW - HOUR],
        [CatchUpRules(CatchUpPolicy.ALL), CatchUpRules(lead=HOUR / 2)],
        [None, 1],
        [None, NOW - HOUR],
    )
    for schedule, since, rules, remaining, paused in [*cases] * 2:
        alone = plan(schedule, since=since, now=NOW, rules=rules, remaining=remaining, paused_until=paused)
        found = shared.plan(schedule, since=since, rules=rules, remaining=remaining, paused_until=paused)
        assert alone == found


def test_a_thousand_that_are_equal_cost_one():
    schedule, rules, shared = Asked(), CatchUpRules(), SharedPlans(NOW)
    first = shared.plan(schedule, since=NOW - HOUR, rules=rules)
    asked = schedule.times

    for _ in range(1000):
        assert shared.plan(schedule, since=NOW - HOUR, rules=CatchUpRules()) is first
    assert schedule.times == asked


def test_hashed_fields_of_two_jobs_do_not_share():
    trigger = CronTrigger(cron="H H * * *")
    shared = SharedPlans(NOW)

    found = {shared.plan(build(trigger, job), since=NOW, rules=CatchUpRules()).next_at for job in "abcde"}

    assert len(found) == 5
