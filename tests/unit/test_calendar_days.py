"""Calendars and their rules against tables worked out by hand."""

import re
from datetime import UTC, date, datetime, time

import pytest

from scheduler.domain.calendar import END, Calendar, CalendarPart, NoDataError, calendar_document, calendar_from
from scheduler.domain.calendar_countries import country_days
from scheduler.domain.calendar_schedule import CalendarSchedule
from scheduler.domain.calendar_sources import CalendarError, Calendars
from scheduler.domain.dst import DstRules
from scheduler.domain.schedule import build_schedule, check_trigger
from scheduler.domain.zones import zone
from schemas.calendar_spec import CalendarSpec
from schemas.calendar_trigger import CalendarRule, CalendarTrigger
from schemas.vocabulary import FoldRule, GapRule, Verdict

COUNTRIES = Calendars({})


def firings(rule, since, count, *, calendar=None, tz="UTC", dst=None):
    schedule = CalendarSchedule(CalendarRule.model_validate(rule), zone(tz), calendar, dst or DstRules())
    at = datetime.fromisoformat(since).replace(tzinfo=UTC)
    found = []
    while len(found) < count and (planned := schedule.next_after(at)) is not None:
        at = planned.fires_at
        found.append(planned)
    return found


def days(rule, since, count, place=None, **options):
    calendar = COUNTRIES.get(place) if place else None
    found = firings(rule, since, 3 * count, calendar=calendar, **options)
    return [at.wall_time[:10] for at in found if at.skipped is None][:count]


@pytest.mark.parametrize(
    ("place", "rule", "since", "expected"),
    [
        # 4 July 2026 is a Saturday, observed on Friday the 3rd
        ("US", {"business_day": "every"}, "2026-07-01T12:00", ["2026-07-02", "2026-07-06"]),
        ("US", {"date": "07-04", "roll": "following"}, "2026-01-01", ["2026-07-06"]),
        ("US", {"date": "07-04", "roll": "preceding"}, "2026-01-01", ["2026-07-02"]),
        # 1 January 2028 is a Saturday, observed on Friday 31 December 2027
        ("US", {"month_end": "business"}, "2027-12-01", ["2027-12-30", "2028-01-31"]),
        ("US", {"business_day": -1}, "2027-12-01", ["2027-12-30"]),
        ("US", {"business_day": 1}, "2027-12-31", ["2028-01-03"]),
        ("US", {"quarter_end": "business"}, "2027-11-01", ["2027-12-30", "2028-03-31", "2028-06-30"]),
        # Japan 2026: 21 and 23 September are holidays, so the 22nd is a citizens' holiday; 6 May a substitute
        ("JP", {"business_day": "every"}, "2026-09-18", ["2026-09-24", "2026-09-25", "2026-09-28"]),
        ("JP", {"business_day": "every"}, "2026-05-01", ["2026-05-07"]),
        ("JP", {"business_day": 1}, "2026-05-02", ["2026-06-01"]),
        # Germany has no substitute days: 3 October 2026 is a Saturday, Friday and Monday are open
        ("DE", {"business_day": "every"}, "2026-10-01", ["2026-10-02", "2026-10-05"]),
        # All Saints' Day (1 November 2027, a Monday) is a holiday in Bavaria only
        ("DE", {"business_day": 1}, "2027-10-31", ["2027-11-01"]),
        ("DE-BY", {"business_day": 1}, "2027-10-31", ["2027-11-02"]),
        # China works on Sunday 2026-09-20, in exchange for a day of the holidays
        ("CN", {"business_day": "every"}, "2026-09-18T12:00", ["2026-09-20", "2026-09-21"]),
        # Saudi Arabia rests on Friday and Saturday
        ("SA", {"business_day": "every"}, "2026-11-19T12:00", ["2026-11-22", "2026-11-23"]),
        # Saturday 31 January 2026 and Sunday 28 February
        (None, {"month_end": "day", "roll": "following"}, "2026-01-15", ["2026-02-02", "2026-03-02"]),
        (None, {"month_end": "day", "roll": "modified_following"}, "2026-01-15", ["2026-01-30", "2026-02-27"]),
        (None, {"month_end": "day", "roll": "preceding"}, "2026-01-15", ["2026-01-30", "2026-02-27"]),
        (None, {"month_end": "day"}, "2026-01-15", ["2026-01-31", "2026-02-28"]),
        (None, {"date": "02-14", "roll": "modified_following"}, "2026-01-01", ["2026-02-16"]),
        (None, {"date": "02-29"}, "2026-01-01", ["2028-02-29", "2032-02-29"]),
        (None, {"quarter_end": "day"}, "2026-01-01", ["2026-03-31", "2026-06-30", "2026-09-30", "2026-12-31"]),
        (None, {"business_day": -3}, "2026-11-01", ["2026-11-26", "2026-12-29"]),
        (None, {"month_end": "business", "offset_days": 1}, "2026-10-01", ["2026-12-01", "2027-01-01"]),
        (None, {"date": "01-01", "offset_days": -7}, "2026-01-01", ["2026-12-25", "2027-12-25"]),
        # Thursday and Friday both roll to Monday, which fires once
        (
            None,
            {"business_day": "every", "offset_days": 2, "roll": "following"},
            "2026-11-19T12:00",
            ["2026-11-20", "2026-11-23", "2026-11-25"],
        ),
        # 23 business days: only months of 31 days that begin on Monday, Tuesday or Wednesday
        (None, {"business_day": 23}, "2026-01-01", ["2026-07-31", "2026-12-31", "2027-03-31"]),
    ],
)
def test_days_are_those_of_the_table(place, rule, since, expected):
    assert expected == days(rule, since, len(expected), place)


def test_holiday_is_judged_by_the_local_date():
    """00:30 on Thursday 2026-09-24 in Tokyo is still the holiday of the 23rd in UTC."""
    found = firings(
        {"business_day": "every", "at": "00:30"}, "2026-09-18", 1, calendar=COUNTRIES.get("JP"), tz="Asia/Tokyo"
    )

    assert [("2026-09-24T00:30:00", "2026-09-23T15:30:00+00:00")] == [
        (at.wall_time, at.fires_at.isoformat()) for at in found
    ]


def test_wall_time_is_kept_over_a_change_of_the_clock():
    found = firings({"month_end": "business", "at": "18:00"}, "2026-03-01", 2, tz="Europe/Berlin")

    assert ["2026-03-31T16:00:00+00:00", "2026-04-30T16:00:00+00:00"] == [at.fires_at.isoformat() for at in found]
    before = firings({"month_end": "business", "at": "18:00"}, "2026-02-01", 1, tz="Europe/Berlin")
    assert ["2026-02-27T17:00:00+00:00"] == [at.fires_at.isoformat() for at in before]


@pytest.mark.parametrize(
    ("at", "since", "dst", "expected"),
    [
        # 2026-03-29: 02:00 becomes 03:00 (01:00 UTC)
        ("02:30", "2026-03-28T12:00", DstRules(), [("2026-03-29T01:00:00", None)]),
        ("02:30", "2026-03-28T12:00", DstRules(gap=GapRule.SKIP), [("2026-03-29T00:59:59.999999", Verdict.DST_GAP)]),
        # 2026-10-25: 03:00 becomes 02:00 (01:00 UTC)
        ("02:30", "2026-10-24T12:00", DstRules(), [("2026-10-25T00:30:00", None)]),
        ("02:30", "2026-10-24T12:00", DstRules(fold=FoldRule.SECOND), [("2026-10-25T01:30:00", None)]),
        (
            "02:30",
            "2026-10-24T12:00",
            DstRules(fold=FoldRule.BOTH),
            [("2026-10-25T00:30:00", None), ("2026-10-25T01:30:00", None)],
        ),
    ],
)
def test_skipped_and_repeated_hour_follow_the_rules_of_the_trigger(at, since, dst, expected):
    every_day = Calendar("all", (CalendarPart(frozenset(), {}),))
    found = firings(
        {"business_day": "every", "at": at}, since, len(expected), calendar=every_day, tz="Europe/Berlin", dst=dst
    )

    assert expected == [(at.fires_at.replace(tzinfo=None).isoformat(), at.skipped) for at in found]


def test_day_that_a_zone_left_out_has_no_firing():
    found = firings({"business_day": "every"}, "2011-12-29T00:00", 2, tz="Pacific/Apia")

    assert ["2011-12-29T00:00:00", "2012-01-02T00:00:00"] == [at.wall_time for at in found]


def test_closed_day_without_a_roll_is_planned_and_skipped():
    found = firings({"month_end": "day", "at": "18:00"}, "2026-01-15", 3, calendar=COUNTRIES.get("JP"))

    assert [
        ("2026-01-31T18:00:00", Verdict.SKIPPED_CALENDAR, 1),
        ("2026-02-28T18:00:00", Verdict.SKIPPED_CALENDAR, 1),
        ("2026-03-31T18:00:00", None, 1),
    ] == [(at.wall_time, at.skipped, at.times) for at in found]


def test_years_without_data_are_not_years_without_holidays():
    calendar = COUNTRIES.get("JP")

    with pytest.raises(NoDataError, match="not for 2101-01-01"):
        calendar.is_open(date(2101, 1, 1))
    with pytest.raises(NoDataError):
        list(calendar.closed_days(date(1900, 1, 1), date(1900, 12, 31)))
    assert [] == firings({"business_day": "every"}, "2099-12-31T12:00", 1, calendar=calendar)
    assert ["1970-01-02"] == days({"business_day": "every"}, "1900-01-01", 1, "JP")
    assert [] == firings({"month_end": "day", "roll": "following"}, "2100-12-31T12:00", 1, calendar=COUNTRIES.get("DE"))


def test_every_year_between_the_bounds_of_a_country_has_holidays():
    for place in ("US", "US-CA", "JP", "DE", "GB", "FR", "CN", "IN", "BR", "LK"):
        found = country_days(place)
        assert set(range(found.first.year, found.last.year + 1)) == {day.year for day in found.closed}


def test_own_days_go_over_the_country_and_a_union_is_closed_where_any_is():
    calendars = Calendars(
        {
            "tokyo": CalendarSpec.model_validate(
                {"country": "JP", "closed": ["2026-12-31"], "open": ["2026-09-22", "2026-09-26"]}
            ),
            "joint": CalendarSpec.model_validate({"union": ["tokyo", "US"]}),
        }
    )
    tokyo, joint = calendars.get("tokyo"), calendars.get("joint")

    assert [False, True, True] == [tokyo.is_open(date(*day)) for day in ((2026, 12, 31), (2026, 9, 22), (2026, 9, 26))]
    assert [False, False] == [joint.is_open(date(2026, 11, 26)), joint.is_open(date(2026, 9, 26))]
    assert "Thanksgiving Day" == joint.why_closed(date(2026, 11, 26))
    assert "Saturday" == joint.why_closed(date(2026, 9, 26))
    assert [(date(2026, 9, 7), "Labor Day"), (date(2026, 9, 21), "Respect for the Aged Day")] == list(
        joint.closed_days(date(2026, 9, 1), date(2026, 9, 22))
    )
    assert calendar_from("joint", 0, calendar_document(joint)) == joint


@pytest.mark.parametrize(
    ("specs", "path", "message"),
    [
        ({"a": {"weekend": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]}}, (), "every day is closed"),
        ({"a": {"union": ["b", "c"]}, "b": {"union": ["a", "c"]}, "c": {}}, ("union", 0), "contains itself: a → b → a"),
        ({"a": {"country": "UK"}}, ("country",), "did you mean GB?"),
        ({"a": {"country": "DE", "subdivision": "XX"}}, ("subdivision",), "allowed: BB, BE, BW, BY"),
        ({"a": {"country": "JP", "closed": ["2101-01-01"]}}, ("closed", 0), "go from 1970-01-01 to 2099-12-31"),
        ({"a": {"country": "JP", "valid_until": "2101-01-01"}}, ("valid_until",), "outside of the data"),
    ],
)
def test_calendar_that_cannot_be_used_is_refused(specs, path, message):
    calendars = Calendars({name: CalendarSpec.model_validate(spec) for name, spec in specs.items()})

    with pytest.raises(CalendarError, match=re.escape(message)) as refused:
        calendars.get("a")

    assert path == refused.value.path


@pytest.mark.parametrize(
    ("spec", "today", "said"),
    [
        ({"country": "LK"}, "2026-12-01", "on 2026-12-31: nothing is planned after that day; a newer holidays package"),
        (
            {"country": "JP", "valid_until": "2027-03-31"},
            "2027-03-01",
            "nothing is planned after that day; a later valid_until lets it go on, at most to 2099-12-31",
        ),
        ({"country": "LK", "valid_until": "2026-12-31"}, "2026-12-01", "may know more, for a later valid_until"),
        (
            {"closed": ["2026-12-24"], "valid_until": "2026-12-31"},
            "2026-12-01",
            "nothing is planned after that day; renew its lists and its valid_until",
        ),
        (
            {"union": ["JP", "shop"]},
            "2026-12-01",
            "nothing is planned after that day; it ends with shop: renew its lists and its valid_until",
        ),
        ({"union": ["JP", "LK"]}, "2026-12-01", "it ends with LK: a newer holidays package may know more"),
        (
            {"union": ["JP", "LK"], "valid_until": "2026-11-30"},
            "2026-11-01",
            "a later valid_until lets it go on, at most to 2026-12-31, then apply again",
        ),
    ],
)
def test_what_lets_a_calendar_go_on_is_what_ends_it(spec, today, said):
    shop = {"closed": ["2026-12-24"], "valid_until": "2026-12-31"}
    specs = {name: CalendarSpec.model_validate(each) for name, each in {"a": spec, "shop": shop}.items()}

    told = Calendars(specs).get("a").expiry(date.fromisoformat(today)) or ""

    assert said in told
    assert told.endswith(", then apply again")


def test_calendar_says_when_its_data_end():
    listed = Calendars({"own": CalendarSpec.model_validate({"closed": ["2026-12-24"]})}).get("own")
    limited = Calendars({"own": CalendarSpec.model_validate({"country": "JP", "valid_until": "2027-03-31"})}).get("own")

    assert listed.expiry(date(2026, 10, 31)) is None
    assert "end on 2026-12-31: later days are judged by the weekday alone" in (listed.expiry(date(2026, 11, 1)) or "")
    assert "ended on 2026-12-31" in (listed.expiry(date(2027, 1, 1)) or "")
    assert limited.expiry(date(2027, 1, 29)) is None
    assert "end on 2027-03-31: nothing is planned after" in (limited.expiry(date(2027, 1, 30)) or "")
    assert ["2027-03-31"] == [
        at.wall_time[:10] for at in firings({"business_day": "every"}, "2027-03-30T12:00", 5, calendar=limited)
    ]
    assert END == listed.last


def test_trigger_that_only_falls_on_closed_days_is_refused():
    trigger = CalendarTrigger(calendar={"date": "12-25", "country": "DE"})
    rolled = CalendarTrigger(calendar={"date": "12-25", "country": "DE", "roll": "following"})
    known = {"DE": COUNTRIES.get("DE")}

    with pytest.raises(ValueError, match="never fires on an open day"):
        check_trigger(trigger, timezone="UTC", calendars=known)
    check_trigger(rolled, timezone="UTC", calendars=known)


def test_rule_that_never_comes_ends_in_bounded_time():
    """A week of three open days has no month with 23 of them."""
    weekend = frozenset({0, 1, 5, 6})
    calendar = Calendar("short", (CalendarPart(weekend, {}),))

    assert [] == firings({"business_day": 23}, "2026-01-01", 1, calendar=calendar)


def test_calendar_that_is_not_handed_in_is_refused():
    trigger = CalendarTrigger(calendar={"business_day": 1, "calendar": "tokyo"})

    with pytest.raises(ValueError, match="there is no calendar tokyo"):
        build_schedule(trigger, timezone="UTC", hash_key="", anchor=datetime(2026, 1, 1, tzinfo=UTC))


def test_bounds_of_a_trigger_hold_for_calendars():
    trigger = CalendarTrigger(
        calendar={"business_day": "every", "at": time(9)},
        starts_at="2026-11-21T00:00:00Z",
        ends_at="2026-11-24T09:00:00Z",
    )
    schedule = build_schedule(trigger, timezone="UTC", hash_key="", anchor=datetime(2026, 1, 1, tzinfo=UTC))

    first = schedule.next_after(datetime(2026, 1, 1, tzinfo=UTC))
    assert first is not None
    second = schedule.next_after(first.fires_at)
    assert second is not None
    assert ["2026-11-23T09:00:00", "2026-11-24T09:00:00"] == [first.wall_time, second.wall_time]
    assert schedule.next_after(second.fires_at) is None
