"""The plan of firings against a reference that decides one instant after the other."""

from datetime import UTC, datetime, timedelta

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from scheduler.domain.counted_schedules import ListSchedule, SpanSchedule
from scheduler.domain.firing import CatchUpRules, plan
from scheduler.domain.planned import planned
from scheduler.domain.zones import zone
from schemas.vocabulary import CatchUpPolicy, Verdict

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
SCHEDULES = COUNTED | COUNTED.map(Walked)
RULES = st.builds(
    CatchUpRules,
    policy=st.sampled_from(CatchUpPolicy),
    window=seconds(0, 400),
    max_runs=st.integers(1, 8),
    punctual=seconds(0, 60),
    limit=st.integers(1, 20),
)


def expected(due, now, rules, remaining, paused_until):
    """Return (instant, verdict) of every due instant, each judged on its own."""
    paused = [at for at in due if paused_until is not None and at <= paused_until]
    open_ = [at for at in due if at not in paused]
    punctual = [at for at in open_ if now - at <= min(rules.punctual, rules.window)]
    late = [at for at in open_ if at not in punctual and now - at <= rules.window]
    starts = list(punctual)
    if rules.policy is CatchUpPolicy.ALL:
        starts += late[-rules.max_runs :]
    if rules.policy is CatchUpPolicy.LATEST and not punctual and due and now - due[-1] <= rules.window:
        starts.append(due[-1])
    starts = sorted(starts)
    if remaining is not None and len(starts) >= remaining:
        due = [at for at in due if at <= starts[:remaining][-1]]
    verdicts = []
    for at in due:
        if at in starts:
            verdicts.append((at, None))
        elif at in paused:
            verdicts.append((at, Verdict.PAUSED))
        elif at in late and rules.policy is not CatchUpPolicy.NONE:
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
    while at is not None and at.fires_at <= now:
        due.append(at.fires_at)
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
        inside = [at for at in due if row.fires_at <= at <= (row.to_at or row.fires_at)]
        assert (len(inside), inside[0], inside[-1]) == (row.count, row.fires_at, row.to_at or row.fires_at)
        assert row.verdict is not None or row.count == 1
        assert row.verdict is None or row.reason
        found += [(at, row.verdict) for at in inside]
    assert expected(due, now, rules, remaining, paused_until) == found
    if left == 0:
        assert step.next_at is None
    else:
        following = schedule.next_after(max(since, now))
        assert step.next_at == (following and following.fires_at)


@settings(deadline=None)
@given(schedule=SCHEDULES, length=seconds(0, 400), rules=RULES, pause=st.none() | seconds(0, 400))
def test_neighbouring_rows_of_one_call_differ(schedule, length, rules, pause):
    """Uninterrupted stretches are one row."""
    paused_until = None if pause is None else START + pause
    step = plan(schedule, since=START, now=START + length, rules=rules, paused_until=paused_until)
    assume(len(step.rows) > 1)

    pairs = list(zip(step.rows, step.rows[1:], strict=False))
    assert all(a.verdict is None or a.verdict is not b.verdict for a, b in pairs)
