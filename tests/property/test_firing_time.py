"""The plan of firings against a reference that decides one instant after the other."""

from datetime import UTC, datetime, timedelta

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from scheduler.domain.counted_schedules import ListSchedule, SpanSchedule
from scheduler.domain.cron import parse_cron
from scheduler.domain.cron_schedule import CronSchedule
from scheduler.domain.dst import DstRules
from scheduler.domain.due import DueInstants
from scheduler.domain.firing import CatchUpRules, plan
from scheduler.domain.planned import planned
from scheduler.domain.zones import zone
from schemas.vocabulary import CatchUpPolicy, FoldRule, GapRule, Verdict

START = datetime(2026, 3, 1, tzinfo=UTC)
UTC_ZONE = zone("UTC")
SECOND = timedelta(seconds=1)


class Walked:
    """The same schedule for a caller that cannot count it, as cron is."""

    def __init__(self, inner):
        self._inner = inner

    def next_after(self, instant):
        return self._inner.next_after(instant)


def seconds(low: int, high: int):
    return st.integers(low, high).map(lambda n: n * SECOND)


COUNTED = st.one_of(
    st.builds(lambda offset, span: SpanSchedule(START + offset, span, UTC_ZONE), seconds(-50, 50), seconds(1, 60)),
    st.builds(
        lambda offsets: ListSchedule(planned(START + offset, UTC_ZONE) for offset in offsets),
        st.lists(seconds(0, 400), max_size=30),
    ),
)


class Steady(Walked):
    """The same schedule for a caller that may count where nothing is left out and no clock is changed."""

    def count_in(self, since, until):
        first, end = self._inner.index_after(since), self._inner.index_after(until)
        changed = START + 200 * SECOND
        return None if self._inner.skips(first, end) or since <= changed <= until else end - first


def left_out(at):
    """Let every fifth second be a gap that stands for two wall times."""
    return at if at.fires_at.second % 5 else at._replace(skipped=Verdict.DST_GAP, times=2)


HOLED = st.builds(
    lambda offsets: ListSchedule(left_out(planned(START + offset, UTC_ZONE)) for offset in offsets),
    st.lists(seconds(0, 400), max_size=60),
)
COUNTED = COUNTED | HOLED
SCHEDULES = COUNTED | COUNTED.map(Walked) | COUNTED.map(Steady)
RULES = st.builds(
    CatchUpRules,
    policy=st.sampled_from(CatchUpPolicy),
    window=seconds(0, 400),
    max_runs=st.integers(1, 8),
    punctual=seconds(0, 60),
    limit=st.integers(1, 20),
    lead=seconds(0, 3),
)


def expected(due, now, rules, remaining, paused_until):
    """Return (instant, verdict) of every due instant, each judged on its own."""
    fires = [at.fires_at for at in due if at.skipped is None]
    paused = [at for at in fires if paused_until is not None and at <= paused_until]
    open_ = [at for at in fires if at not in paused]
    window = max(rules.window, SECOND)
    punctual = [at for at in open_ if now - at <= min(rules.punctual, window)]
    late = [at for at in open_ if at not in punctual and now - at <= window]
    missed = len(punctual) < len(open_)
    starts = punctual[-1:] if missed and rules.policy is CatchUpPolicy.LATEST else list(punctual)
    if rules.policy is CatchUpPolicy.ALL:
        starts += late[-rules.max_runs :]
    if rules.policy is CatchUpPolicy.LATEST and not punctual and fires and now - fires[-1] <= window:
        starts.append(fires[-1])
    starts = sorted(starts)
    end = now + rules.lead
    if remaining is not None and len(starts) >= remaining:
        end = starts[:remaining][-1]
    verdicts = []
    for at, skipped in ((at.fires_at, at.skipped) for at in due if at.fires_at <= end):
        if skipped is not None:
            verdicts.append((at, skipped))
        elif at in starts:
            verdicts.append((at, None))
        elif at in paused:
            verdicts.append((at, Verdict.PAUSED))
        elif at in late + punctual and rules.policy is not CatchUpPolicy.NONE:
            verdicts.append((at, Verdict.MERGED))
        else:
            verdicts.append((at, Verdict.MISFIRED))
    return verdicts


@settings(deadline=None, max_examples=400)
@given(
    schedule=SCHEDULES,
    since=seconds(0, 100),
    length=seconds(-10, 400),
    rules=RULES,
    remaining=st.none() | st.integers(1, 10),
    pause=st.none() | seconds(0, 400),
)
def test_every_instant_lands_in_exactly_one_row_with_the_verdict_it_deserves(
    schedule, since, length, rules, remaining, pause
):
    since, now = START + since, START + since + length
    paused_until = None if pause is None else min(START + pause, now)
    due, at = [], schedule.next_after(since)
    while at is not None and at.fires_at <= now + rules.lead:
        due.append(at)
        at = schedule.next_after(at.fires_at)

    rows, cursor, left, more = [], since, remaining, True
    while more:
        step = plan(
            schedule,
            since=cursor,
            now=now,
            rules=rules,
            remaining=left,
            paused_until=paused_until,
        )
        assert not step.more or step.planned_until > cursor, "a call that asks for another must get on"
        assert step.used == sum(row.verdict is None for row in step.rows)
        rows += step.rows
        cursor, more = step.planned_until, step.more
        left = None if left is None else left - step.used

    found = []
    for row in rows:
        inside = [at for at in due if row.fires_at <= at.fires_at <= (row.to_at or row.fires_at)]
        assert (inside[0].fires_at, inside[-1].fires_at) == (row.fires_at, row.to_at or row.fires_at)
        assert sum(at.times for at in inside) == row.count
        assert row.verdict is not None or row.count == 1
        assert row.verdict is None or row.reason
        found += [(at.fires_at, row.verdict) for at in inside]
    assert expected(due, now, rules, remaining, paused_until) == found
    if left == 0:
        assert step.next_at is None
    else:
        following = schedule.next_after(max(since, now + rules.lead))
        assert step.next_at == (following and following.fires_at)


@settings(deadline=None)
@given(schedule=SCHEDULES, length=seconds(0, 400), rules=RULES, pause=st.none() | seconds(0, 400))
def test_neighbouring_rows_of_one_call_differ(schedule, length, rules, pause):
    """Uninterrupted stretches are one row."""
    paused_until = None if pause is None else START + pause
    step = plan(schedule, since=START, now=START + length, rules=rules, paused_until=paused_until)
    assume(len(step.rows) > 1)

    pairs = list(zip(step.rows, step.rows[1:], strict=False))
    skipped = Verdict.DST_GAP
    assert all(a.verdict in {None, skipped} or a.verdict is not b.verdict for a, b in pairs)


@settings(deadline=None, max_examples=60)
@given(
    text=st.sampled_from(
        ["* * * * *", "*/7 * * * *", "30 * * * *", "15,45 0-4 * * *", "0-59 1 * * *", "30 */2 * * *", "0 2 * * 0"]
    ),
    rules=st.builds(DstRules, gap=st.sampled_from(GapRule), fold=st.sampled_from(FoldRule)),
    name=st.sampled_from(
        ["Europe/Berlin", "Australia/Lord_Howe", "America/New_York", "Africa/Casablanca", "Asia/Gaza"]
    ),
    start=st.datetimes(datetime(2019, 1, 1), datetime(2026, 12, 1)),  # noqa: DTZ001 - hypothesis wants them naive
    near_change=st.booleans(),
    hours=st.integers(1, 24 * 14),
)
def test_due_instants_are_those_that_a_walk_finds(text, rules, name, start, near_change, hours):
    """Counted by days or visited one by one: the same instants, at the same places."""
    schedule = CronSchedule(parse_cron(text), zone(name), rules)
    since = start.replace(tzinfo=UTC)
    if near_change:
        since = _change_after(since, name) - timedelta(hours=hours / 2)
    now = since + timedelta(hours=hours)
    walked, at = [], schedule.next_after(since)
    while at is not None and at.fires_at <= now:
        walked.append(at)
        at = schedule.next_after(at.fires_at)

    due = DueInstants(schedule, since, now, 200_000)

    assert not due.cut
    assert len(due) == len(walked)
    assert list(due.skips(0, len(walked))) == [i for i, at in enumerate(walked) if at.skipped]
    for index in {0, 1, len(walked) // 3, len(walked) // 2, len(walked) - 1} & set(range(len(walked))):
        assert due.nth(index) == walked[index]
        assert due.index_after(walked[index].fires_at) == index + 1
        assert due.index_after(walked[index].fires_at - timedelta(microseconds=1)) == index
    assert due.nth(len(walked)) is None


def _change_after(instant, name):
    """Return an instant within a day of the next change of the clock."""
    tz = zone(name)
    offset = instant.astimezone(tz).utcoffset()
    for days in range(400):
        at = instant + timedelta(days=days)
        if at.astimezone(tz).utcoffset() != offset:
            return at
    return instant
