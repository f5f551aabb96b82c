"""Calendar rules against a reference that looks at every day of the years around."""

from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby

from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.domain.calendar import EVERY_DAY, WEEKENDS, Calendar, CalendarPart
from scheduler.domain.calendar_schedule import CalendarSchedule
from scheduler.domain.dst import DstRules
from scheduler.domain.zones import to_instant, zone
from schemas.calendar_trigger import CalendarRule
from schemas.vocabulary import Roll, Verdict

DAY = timedelta(days=1)
FIRST, LAST = date(2025, 6, 1), date(2028, 12, 31)
DAYS = [FIRST + n * DAY for n in range((LAST - FIRST).days + 1)]
MONTHS = [list(days) for _, days in groupby(DAYS, key=lambda day: (day.year, day.month))]

parts = st.builds(
    CalendarPart,
    weekend=st.frozensets(st.integers(0, 6), max_size=3),
    closed=st.dictionaries(st.sampled_from(DAYS), st.just("closed"), max_size=60),
    opened=st.frozensets(st.sampled_from(DAYS), max_size=10),
)
calendars = st.none() | st.builds(lambda found: Calendar("x", tuple(found)), st.lists(parts, min_size=1, max_size=2))
named = st.one_of(
    st.builds(lambda n: {"business_day": n}, st.just("every") | st.integers(1, 23) | st.integers(-23, -1)),
    st.builds(lambda end: {"month_end": end}, st.sampled_from(["day", "business"])),
    st.builds(lambda end: {"quarter_end": end}, st.sampled_from(["day", "business"])),
    st.builds(lambda day: {"date": f"{day:%m-%d}"}, st.sampled_from(DAYS)),
)
rules = st.builds(
    lambda day, offset, roll, at: CalendarRule.model_validate(day | {"offset_days": offset, "roll": roll, "at": at}),
    named,
    st.integers(-40, 40) | st.just(0),
    st.sampled_from(Roll),
    st.times().map(lambda at: at.replace(microsecond=0, fold=0)),
)
starts = st.integers(0, 500 * 86_400).map(lambda s: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=s))
zones = st.sampled_from(["UTC", "Asia/Tokyo", "America/New_York", "Australia/Lord_Howe", "America/Santiago"])


def named_days(rule: CalendarRule, month: list[date], calendar: Calendar) -> list[date]:
    """Return the days of one whole month that the rule names, before they are shifted and rolled."""
    open_days = [at for at in month if calendar.is_open(at)]
    if rule.date is not None:
        return [day for day in month if rule.date == f"{day:%m-%d}"]
    if rule.quarter_end is not None and month[0].month not in {3, 6, 9, 12}:
        return []
    if "day" in (rule.month_end, rule.quarter_end):
        return month[-1:]
    if "business" in (rule.month_end, rule.quarter_end):
        return open_days[-1:]
    if rule.business_day == "every":
        return open_days
    index = rule.business_day - 1 if rule.business_day > 0 else rule.business_day
    return [open_days[index]] if -len(open_days) <= index < len(open_days) else []


def rolled(day: date, roll: Roll, calendar: Calendar) -> date | None:
    """Return the day that stands for ``day``; None: it is closed and skipped."""
    if calendar.is_open(day):
        return day
    following, preceding = day, day
    while not calendar.is_open(following):
        following += DAY
    while not calendar.is_open(preceding):
        preceding -= DAY
    match roll:
        case Roll.NONE:
            return None
        case Roll.FOLLOWING:
            return following
        case Roll.PRECEDING:
            return preceding
        case Roll.MODIFIED_FOLLOWING:
            return following if following.month == day.month else preceding


def expected(rule, calendar, tz, since, until):
    """Return (instant, verdict) of each planned instant in (since, until]."""
    found = {}
    for month in MONTHS:
        for day in named_days(rule, month, calendar):
            shifted = day + timedelta(days=rule.offset_days)
            stands = rolled(shifted, rule.roll, calendar)
            at = to_instant(datetime.combine(stands or shifted, rule.at), tz)
            if since < at <= until:
                found[at] = None if stands else Verdict.SKIPPED_CALENDAR
    return sorted(found.items())


@settings(max_examples=150, deadline=None)
@given(rule=rules, calendar=calendars, zone_name=zones, since=starts)
def test_schedule_is_that_of_the_slow_reference(rule, calendar, zone_name, since):
    tz = zone(zone_name)
    until = since + timedelta(days=420)
    schedule = CalendarSchedule(rule, tz, calendar, DstRules())

    found, at = [], schedule.next_after(since)
    while at is not None and at.fires_at <= until:
        found.append((at.fires_at, at.skipped))
        at = schedule.next_after(at.fires_at)

    weekly = rule.counts_business_days or rule.roll is not Roll.NONE
    used = calendar or (WEEKENDS if weekly else EVERY_DAY)
    assert expected(rule, used, tz, since, until) == found


@settings(max_examples=150, deadline=None)
@given(rule=rules, calendar=calendars, zone_name=zones, since=starts)
def test_answer_does_not_depend_on_what_was_asked_before(rule, calendar, zone_name, since):
    walked = CalendarSchedule(rule, zone(zone_name), calendar, DstRules())
    at = walked.next_after(since - timedelta(days=200))
    while at is not None and at.fires_at <= since:
        at = walked.next_after(at.fires_at)

    assert CalendarSchedule(rule, zone(zone_name), calendar, DstRules()).next_after(since) == at


def test_midnight_is_the_default_time():
    assert time(0) == CalendarRule(business_day="every").at
