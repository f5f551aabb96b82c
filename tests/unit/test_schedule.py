"""Schedules of the three kinds, their bounds, and the zones behind them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from scheduler.domain import zones
from scheduler.domain.cron import parse_cron
from scheduler.domain.cron_schedule import CronSchedule
from scheduler.domain.schedule import PlannedInstant, build_schedule, check_trigger, is_counted
from scheduler.domain.zones import TZDATA_VERSION, change_around, to_instant, zone
from schemas.trigger_spec import AtTrigger, CronTrigger, EveryTrigger

ANCHOR = datetime(2026, 1, 1, tzinfo=UTC)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def build(trigger, timezone="UTC"):
    return build_schedule(trigger, timezone=timezone, hash_key="default/job", anchor=ANCHOR)


def firings(schedule, since: datetime, count: int) -> list[datetime]:
    found = []
    while len(found) < count and (at := schedule.next_after(since)) is not None:
        since = at.fires_at
        found.append(since)
    return found


@pytest.mark.parametrize(
    "trigger",
    [
        CronTrigger(cron="0 0 * * *"),
        EveryTrigger(every="1h"),
        EveryTrigger(every="1 month"),
        AtTrigger(at="2030-01-01T00:00:00Z"),
    ],
)
def test_a_naive_instant_is_refused(trigger):
    with pytest.raises(ValueError, match="time zone"):
        build(trigger).next_after(datetime(2026, 1, 1))  # noqa: DTZ001


def test_a_skipped_wall_time_is_kept_as_planned_and_fires_after_the_gap():
    schedule = build(CronTrigger(cron="30 2 * * *"), "America/New_York")

    at = schedule.next_after(utc("2026-03-08T00:00"))

    assert at == PlannedInstant(utc("2026-03-08T07:00"), "2026-03-08T02:30:00", "America/New_York")


def test_hours_count_elapsed_time_through_a_change_of_offset():
    trigger = EveryTrigger(every="24h", anchor="2026-03-07T14:00:00Z")

    at = build(trigger, "America/New_York").next_after(utc("2026-03-08T13:00"))

    assert at == PlannedInstant(utc("2026-03-08T14:00"), "2026-03-08T10:00:00", "America/New_York")


def test_an_interval_fires_at_its_anchor_and_not_before():
    schedule = build(EveryTrigger(every="10m", anchor="2026-06-01T00:00:00Z"))

    assert firings(schedule, ANCHOR, 2) == [utc("2026-06-01T00:00"), utc("2026-06-01T00:10")]
    assert schedule.next_after(utc("2026-06-01T00:00")).fires_at == utc("2026-06-01T00:10")


def test_an_interval_without_an_anchor_counts_from_the_first_apply():
    assert firings(build(EveryTrigger(every="90s")), ANCHOR, 2) == [
        ANCHOR + timedelta(seconds=90),
        ANCHOR + timedelta(seconds=180),
    ]


def test_months_keep_the_wall_hour_and_come_back_to_their_day():
    schedule = build(EveryTrigger(every="1 month", anchor="2026-01-31 02:30"), "America/New_York")

    walls = [schedule.nth(n).wall_time for n in range(4)]

    assert walls == ["2026-01-31T02:30:00", "2026-02-28T02:30:00", "2026-03-31T02:30:00", "2026-04-30T02:30:00"]
    assert schedule.nth(2).fires_at == utc("2026-03-31T06:30")


def test_a_year_from_a_leap_day_waits_for_nothing():
    schedule = build(EveryTrigger(every="1 year", anchor="2024-02-29T12:00:00Z"))
    assert firings(schedule, utc("2024-03-01T00:00"), 4)[::3] == [utc("2025-02-28T12:00"), utc("2028-02-29T12:00")]


@pytest.mark.parametrize("every", ["15m", "1 month"])
def test_counting_agrees_with_stepping(every):
    schedule = build(EveryTrigger(every=every, anchor="2026-03-05 01:30"), "Europe/London")
    assert is_counted(schedule)

    at = utc("2026-03-01T00:00")
    for index in range(30):
        assert schedule.index_after(at) == index
        following = schedule.next_after(at)
        assert following == schedule.nth(index)
        at = following.fires_at


def test_times_fire_once_each_in_order_whatever_the_order_in_the_file():
    trigger = AtTrigger(at=["2026-05-01T00:00:00Z", "2026-03-08 02:30", "2026-03-08T07:00:00Z", "2026-11-01 01:30"])
    schedule = build(trigger, "America/New_York")

    assert firings(schedule, ANCHOR, 9) == [utc("2026-03-08T07:00"), utc("2026-05-01T00:00"), utc("2026-11-01T05:30")]


@pytest.mark.parametrize("kind", [{"cron": "0 * * * *"}, {"every": "1h"}])
def test_starts_at_and_ends_at_are_themselves_included(kind):
    bounds = {"starts_at": "2026-02-01T00:00:00Z", "ends_at": "2026-02-01T02:00:00Z"}
    trigger = (CronTrigger if "cron" in kind else EveryTrigger)(**kind, **bounds)
    schedule = build(trigger)

    assert firings(schedule, ANCHOR, 9) == [utc(f"2026-02-01T0{hour}:00") for hour in range(3)]
    assert schedule.next_after(utc("2027-01-01T00:00")) is None


def test_a_bounded_interval_counts_from_its_first_firing_left():
    schedule = build(EveryTrigger(every="1h", starts_at="2026-02-01T00:00:00Z", ends_at="2026-02-01T02:00:00Z"))

    assert schedule.nth(0).fires_at == utc("2026-02-01T00:00")
    assert schedule.nth(3) is None
    assert [schedule.index_after(utc(t)) for t in ("2026-01-31T23:00", "2026-02-01T00:00", "2026-03-01T00:00")] == [
        0,
        1,
        3,
    ]


def test_wall_time_bounds_are_read_in_the_zone_of_the_trigger():
    trigger = CronTrigger(cron="0 0 * * *", starts_at="2026-02-01 00:00", ends_at="2026-02-02 00:00")
    assert firings(build(trigger, "Asia/Tokyo"), ANCHOR, 9) == [utc("2026-01-31T15:00"), utc("2026-02-01T15:00")]


@pytest.mark.parametrize(
    "trigger", [CronTrigger(cron="0 0 * * *"), EveryTrigger(every="1d"), EveryTrigger(every="1 month")]
)
def test_the_end_of_the_calendar_is_the_end_and_no_error(trigger):
    for at in (utc("9991-01-01T00:00"), datetime.max.replace(tzinfo=UTC)):
        assert build(trigger, "Pacific/Kiritimati").next_after(at) is None


@pytest.mark.parametrize(
    ("trigger", "timezone", "says"),
    [
        (CronTrigger(cron="0 0 30 2 *"), "UTC", "never fires"),
        (CronTrigger(cron="61 * * * *"), "UTC", "minute field"),
        (
            CronTrigger(cron="0 0 1 1 *", starts_at="2026-02-01T00:00:00Z", ends_at="2026-03-01T00:00:00Z"),
            "UTC",
            "never fires",
        ),
        (EveryTrigger(every="1h", anchor="2027-01-01T00:00:00Z", ends_at="2026-01-01T00:00:00Z"), "UTC", "never fires"),
        (AtTrigger(at="2026-01-01T00:00:00Z", starts_at="2026-01-02T00:00:00Z"), "UTC", "never fires"),
        (
            EveryTrigger(every="1h", starts_at="2026-01-02T00:00:00Z", ends_at="2026-01-01T00:00:00Z"),
            "UTC",
            "earlier than",
        ),
        (EveryTrigger(every="1h"), "Mars/Olympus", "is no time zone"),
        (AtTrigger(at=datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))), "UTC", "edge of the calendar"),
        (
            CronTrigger(cron="0 0 * * *", starts_at="2026-01-02 09:00", ends_at="2026-01-01T23:00:00Z"),
            "Asia/Tokyo",
            "2026-01-01T23:00:00[+]00:00 is earlier than starts_at, which is 2026-01-02T09:00:00",
        ),
    ],
)
def test_a_trigger_that_cannot_work_is_refused_in_one_sentence(trigger, timezone, says):
    with pytest.raises(ValueError, match=says) as refusal:
        check_trigger(trigger, timezone=timezone)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "trigger",
    [
        AtTrigger(at="2001-01-01T00:00:00Z"),
        CronTrigger(cron="0 0 * 2 1#5"),
        CronTrigger(cron="H H * * *", ends_at="2002-01-01T00:00:00Z"),
        EveryTrigger(every="1h", ends_at="2025-01-01T00:00:00Z"),
        EveryTrigger(every="7 years"),
    ],
)
def test_a_trigger_that_can_fire_or_could_have_is_accepted(trigger):
    check_trigger(trigger, timezone="America/New_York")


@pytest.mark.parametrize(
    "name",
    ["localtime", "posixrules", "Factory", "right/UTC", "posix/UTC", "Europe", "/etc/localtime", "../UTC", "", "utc",
     "Asia/Tokyo\0", "A" * 5000, "+09:00", "UTC+9", "zone.tab"],
)  # fmt: skip
def test_what_is_no_iana_name_is_refused(name):
    with pytest.raises(ValueError, match="is no time zone") as refusal:
        zone(name)
    assert len(str(refusal.value)) < 300


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("Europe/Zürich", "Europe/Zurich"),
        ("europe/berlin", "Europe/Berlin"),
        ("America/New York", "America/New_York"),
        ("Tokio", "Asia/Tokyo"),
        ("utc", "UTC"),
    ],
)
def test_a_zone_written_otherwise_is_guessed(name, meant):
    with pytest.raises(ValueError, match=rf"did you mean {meant}\?"):
        zone(name)


@pytest.mark.parametrize("name", ["UTC+9", "GMT+1", "Mars/Base"])
def test_an_offset_is_never_guessed(name):
    """Etc/GMT+1 is an hour behind UTC, the opposite of what its writer means."""
    with pytest.raises(ValueError, match=r"is no time zone; allowed are IANA names such as Asia/Tokyo or UTC$"):
        zone(name)


def test_every_zone_can_be_read():
    assert all(str(zone(name)) == name for name in zones.zone_names())


def test_the_zone_data_is_new_enough_to_know_the_changes_of_2026():
    """Vancouver stays on summer time since 2026; older data would fire its jobs an hour off."""
    assert TZDATA_VERSION >= "2026b"
    assert to_instant(datetime(2026, 12, 1, 9), zone("America/Vancouver")) == utc("2026-12-01T16:00")  # noqa: DTZ001


def test_a_change_is_found_to_the_second():
    change = change_around(datetime(2026, 3, 8, 2, 59, 59, 999999), zone("America/New_York"))  # noqa: DTZ001
    assert change is not None
    assert (change.at, change.is_gap, change.is_correction) == (datetime(2026, 3, 8, 7), True, False)  # noqa: DTZ001
    fold = change_around(datetime(2026, 4, 5, 1, 30), zone("Australia/Lord_Howe"))  # noqa: DTZ001
    assert fold is not None
    assert (fold.at, fold.wall_start, fold.wall_end) == (
        datetime(2026, 4, 4, 15), datetime(2026, 4, 5, 1, 30), datetime(2026, 4, 5, 2),  # noqa: DTZ001
    )  # fmt: skip


def test_the_rarest_pattern_is_found_within_bounded_time():
    schedule = CronSchedule(parse_cron("0 0 29 2 1", day_match="all"), zone("UTC"))
    assert schedule.next_after(utc("2072-03-01T00:00")).fires_at == utc("2112-02-29T00:00")


def test_jitter_delays_what_fires_and_keeps_the_wall_time():
    trigger = CronTrigger(cron="0 2 * * *", jitter="30m")
    at, again = (build(trigger, "Asia/Tokyo").next_after(ANCHOR) for _ in range(2))

    assert at == again
    assert (at.wall_time, at.zone) == ("2026-01-02T02:00:00", "Asia/Tokyo")
    assert utc("2026-01-01T17:00") <= at.fires_at < utc("2026-01-01T17:30")


def test_jitter_differs_between_jobs_and_keeps_to_ends_at():
    trigger = CronTrigger(cron="0 2 * * *", jitter="1d", ends_at="2026-01-01T02:05:00Z")
    found = {
        build_schedule(trigger, timezone="UTC", hash_key=f"default/job{n}", anchor=ANCHOR).next_after(ANCHOR).fires_at
        for n in range(20)
    }
    assert len(found) > 15
    assert max(found) <= utc("2026-01-01T02:05")


def test_more_than_a_day_of_jitter_is_refused():
    with pytest.raises(ValueError, match="at most 1d"):
        CronTrigger(cron="0 2 * * *", jitter="25h")


def test_triggers_with_the_same_times_share_what_was_found():
    one, other = (build(CronTrigger(cron="7 3 * * *", params={"n": n}), "Asia/Tokyo") for n in range(2))
    assert one is other


@pytest.mark.parametrize(
    ("words", "worked_out"),
    [
        ({"cron": "8 3 * * *"}, 2),
        ({"cron": "0 8 3 * * *", "seconds": True}, 2),
        ({"cron": "*/8 8 3 * * *", "seconds": True}, 4),
    ],
)
def test_what_was_found_is_shared_by_all_who_ask_within_a_minute(words, worked_out, monkeypatch):
    schedule = build(CronTrigger(**words), "Asia/Katmandu")
    asked: list[datetime] = []
    find = CronSchedule.find
    monkeypatch.setattr(CronSchedule, "find", lambda self, now: asked.append(now) or find(self, now))

    times = ["2026-05-01T12:30", "2026-05-01T12:30:00.000001", "2026-05-01T12:30:59.999998", "2026-05-01T12:31"]
    assert {utc("2026-05-01T21:23")} == {schedule.next_after(utc(time)).fires_at for time in times}
    assert worked_out == len(asked)


def test_what_a_gap_leaves_out_at_the_end_of_a_minute_comes_once():
    schedule = build(CronTrigger(cron="30 2 * * *", dst={"gap": "skip"}), "America/New_York")
    gap = utc("2026-03-08T07:00") - timedelta(microseconds=1)

    assert gap == schedule.next_after(utc("2026-03-08T06:59:59")).fires_at
    assert utc("2026-03-09T06:30") == schedule.next_after(gap).fires_at


def test_the_two_passes_of_an_hour_are_told_apart_in_any_zone():
    """Python takes both 01:45 of a zone for equal, as it leaves fold aside there."""
    schedule = build(CronTrigger(cron="*/30 * * * *"), "America/New_York")
    first, second = (datetime(2026, 11, 1, 1, 45, tzinfo=zone("America/New_York"), fold=fold) for fold in (0, 1))
    assert [schedule.next_after(at).fires_at for at in (first, second)] == [
        utc("2026-11-01T06:00"),
        utc("2026-11-01T07:00"),
    ]
