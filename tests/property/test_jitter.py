"""Delayed schedules: order, bounds, counting, and the same answer for everybody."""

from datetime import UTC, datetime, timedelta

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from scheduler.domain.counted_schedules import ListSchedule, SpanSchedule
from scheduler.domain.cron import parse_cron
from scheduler.domain.cron_schedule import CronSchedule
from scheduler.domain.dst import DstRules
from scheduler.domain.jitter import jittered
from scheduler.domain.planned import is_counted, is_steady, planned
from scheduler.domain.zones import zone
from schemas.vocabulary import GapRule

START = datetime(2026, 3, 8, 5, tzinfo=UTC)
NEW_YORK = zone("America/New_York")

SCHEDULES = st.one_of(
    st.integers(100, 7_200_000).map(lambda ms: SpanSchedule(START, timedelta(milliseconds=ms), NEW_YORK)),
    st.lists(st.integers(0, 30_000), max_size=12).map(
        lambda offsets: ListSchedule(planned(START + timedelta(seconds=n), NEW_YORK) for n in offsets)
    ),
    st.sampled_from(["* * * * *", "*/7 * * * *", "30 1,2,3 * * *", "0 5 * * 1"]).map(
        lambda text: CronSchedule(parse_cron(text), NEW_YORK, DstRules(gap=GapRule.SKIP))
    ),
)
JITTERS = st.integers(1, 86_400_000).map(lambda ms: timedelta(milliseconds=ms))
MOMENTS = st.integers(-3_600_000_000, 36_000_000_000).map(lambda us: START + timedelta(microseconds=us))


def walked(schedule, since: datetime, count: int):
    found = []
    while len(found) < count and (at := schedule.next_after(since)) is not None:
        found.append(at)
        since = at.fires_at
    return found


@settings(deadline=None)
@given(inner=SCHEDULES, jitter=JITTERS, since=MOMENTS)
def test_each_planned_instant_comes_once_later_and_before_the_next(inner, jitter, since):
    schedule = jittered(inner, key="t/j/k", jitter=jitter, ends_at=None)

    first = inner.next_after(since)
    assume(first is not None)
    start = first.fires_at - timedelta(microseconds=1)
    plain, late = walked(inner, start, 8), walked(schedule, start, 8)

    assert [at.wall_time for at in plain] == [at.wall_time for at in late]
    for at, delayed, following in zip(plain, late, [*plain[1:], None], strict=False):
        assert at.fires_at <= delayed.fires_at < at.fires_at + jitter
        assert following is None or delayed.fires_at < following.fires_at
        assert at.skipped is None or at == delayed


@settings(deadline=None)
@given(inner=SCHEDULES, jitter=JITTERS, since=MOMENTS)
def test_the_answer_is_the_same_from_wherever_one_asks(inner, jitter, since):
    schedule = jittered(inner, key="t/j/k", jitter=jitter, ends_at=None)

    following = schedule.next_after(since)

    before = [at for at in walked(schedule, since - timedelta(days=2), 300) if at.fires_at > since][:1]
    if following is None or before:
        assert [following] == (before or [None])
    if following is not None:
        assert following.fires_at > since
        assert schedule.next_after(following.fires_at - timedelta(microseconds=1)) == following
        assert jittered(inner, key="t/j/k", jitter=jitter, ends_at=None).next_after(since) == following


@settings(deadline=None)
@given(inner=SCHEDULES.filter(is_counted), jitter=JITTERS, since=MOMENTS)
def test_counting_agrees_with_stepping(inner, jitter, since):
    schedule = jittered(inner, key="t/j/k", jitter=jitter, ends_at=None)
    assert is_counted(schedule)

    index = schedule.index_after(since)

    assert schedule.next_after(since) == schedule.nth(index)
    assert index == 0 or schedule.nth(index - 1).fires_at <= since
    if (at := schedule.nth(index)) is not None:
        assert schedule.index_after(at.fires_at) == index + 1


@settings(deadline=None)
@given(text=st.sampled_from(["* * * * *", "*/7 1 * * *", "30 1,2,3 * * *"]), jitter=JITTERS, since=MOMENTS)
def test_counting_through_an_outage_agrees_with_stepping(text, jitter, since):
    schedule = jittered(CronSchedule(parse_cron(text), NEW_YORK), key="t/j/k", jitter=jitter, ends_at=None)
    assert is_steady(schedule)

    until = since + timedelta(hours=5)
    counted = schedule.count_in(since, until)

    assert counted in {None, sum(at.fires_at <= until for at in walked(schedule, since, 400))}


@settings(deadline=None)
@given(inner=SCHEDULES, jitter=JITTERS, length=st.integers(0, 30_000))
def test_nothing_comes_after_the_end(inner, jitter, length):
    ends_at = START + timedelta(seconds=length)
    at = inner.next_after(ends_at - timedelta(hours=1))
    if at is not None and at.fires_at <= ends_at:
        schedule = jittered(inner, key="t/j/k", jitter=jitter, ends_at=ends_at)
        assert schedule.next_after(at.fires_at - timedelta(microseconds=1)).fires_at <= ends_at


def test_delays_fill_the_stretch_and_differ_between_triggers():
    inner = SpanSchedule(START, timedelta(hours=1), NEW_YORK)
    hour = timedelta(hours=1)
    delays = [
        (jittered(inner, key=f"t/j{n}/k", jitter=hour, ends_at=None).nth(n).fires_at - START) % hour for n in range(200)
    ]
    assert min(delays) < hour / 20
    assert max(delays) > hour * 19 / 20
    assert len(set(delays)) > 195


def test_delays_are_the_same_for_ever():
    """Another value would move firings that are planned already."""
    inner = SpanSchedule(START, timedelta(hours=1), NEW_YORK)
    schedule = jittered(inner, key="default/backup/daily", jitter=timedelta(minutes=10), ends_at=None)
    assert schedule.nth(3).fires_at - START - timedelta(hours=3) == timedelta(minutes=3, milliseconds=141)
