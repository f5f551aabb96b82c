"""Cron schedules against a reference that looks at every minute."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

from hypothesis import example, given, settings
from hypothesis import strategies as st

from scheduler.domain.cron import parse_cron
from scheduler.domain.cron_schedule import CronSchedule
from scheduler.domain.dst import DstRules
from scheduler.domain.zones import zone
from schemas.vocabulary import FoldRule, GapRule
from tests.support.slow_cron import Expression, Window, expression

CHANGES = [
    ("America/New_York", datetime(2026, 3, 7, 8, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 10, 31, 8, tzinfo=UTC)),
    ("Europe/London", datetime(2026, 3, 28, tzinfo=UTC)),
    ("Europe/London", datetime(2026, 10, 24, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 3, 16, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 10, 2, 16, tzinfo=UTC)),
    ("Pacific/Apia", datetime(2011, 12, 29, tzinfo=UTC)),
    ("America/Sao_Paulo", datetime(2018, 11, 3, tzinfo=UTC)),
    ("America/Sao_Paulo", datetime(2018, 2, 17, tzinfo=UTC)),
    ("America/Santiago", datetime(2026, 9, 5, tzinfo=UTC)),
    ("Africa/Casablanca", datetime(2025, 2, 22, tzinfo=UTC)),
    ("Africa/Casablanca", datetime(2025, 4, 5, tzinfo=UTC)),
    ("Asia/Kolkata", datetime(2026, 2, 27, tzinfo=UTC)),
    ("Pacific/Kwajalein", datetime(1969, 9, 30, tzinfo=UTC)),  # 23 hours twice: a correction
    ("Antarctica/Troll", datetime(2026, 3, 28, tzinfo=UTC)),  # two hours
]


def numbers(low: int, high: int):
    """A field as text, and the values that it stands for."""
    everything = set(range(low, high + 1))
    star = st.just(("*", everything))
    step = st.integers(2, 7).map(lambda n: (f"*/{n}", set(range(low, high + 1, n))))
    some = st.sets(st.integers(low, high), min_size=1, max_size=4).map(lambda s: (",".join(map(str, sorted(s))), s))
    span = st.tuples(st.integers(low, high), st.integers(low, high)).map(
        lambda ends: (f"{min(ends)}-{max(ends)}", set(range(min(ends), max(ends) + 1)))
    )
    return st.one_of(star, step, some, span)


FIELDS = st.tuples(numbers(0, 59), numbers(0, 23), numbers(1, 31), st.just(("*", set(range(1, 13)))), numbers(0, 6))
CRONS = FIELDS.map(lambda fields: Expression(*zip(*fields, strict=True)))
RULES = st.builds(DstRules, st.sampled_from(GapRule), st.sampled_from(FoldRule))


@lru_cache(maxsize=32)
def window(name: str, start: datetime) -> Window:
    return Window(zone(name), start, timedelta(days=2))


@settings(deadline=None, max_examples=200)
@given(cron=CRONS, where=st.sampled_from(CHANGES), rules=RULES)
@example(cron=expression({15, 45}, {2}, "*", "*", "*"), where=CHANGES[0], rules=DstRules())
def test_firings_are_those_of_a_cron_that_looks_every_minute(cron, where, rules):
    minutes = window(*where)
    schedule = CronSchedule(parse_cron(cron.text), minutes.tz, rules)

    planned, at = [], schedule.next_after(minutes.start)
    while at is not None and at.fires_at <= minutes.end:
        planned.append((at.fires_at, datetime.fromisoformat(at.wall_time), at.skipped, at.times))
        at = schedule.next_after(at.fires_at)

    assert minutes.firings(cron, gap=rules.gap, fold=rules.fold) == planned


@settings(deadline=None)
@given(
    cron=CRONS,
    where=st.sampled_from(CHANGES),
    rules=RULES,
    later=st.lists(st.timedeltas(timedelta(0), timedelta(days=3)), min_size=1, max_size=5),
)
def test_the_next_firing_is_the_same_from_wherever_one_asks(cron, where, rules, later):
    """After a restart at any microsecond: no firing twice, none left out, none in the past."""
    name, start = where
    schedule = CronSchedule(parse_cron(cron.text), zone(name), rules)

    for offset in later:
        following = schedule.next_after(start + offset)
        assert following is not None
        assert following.fires_at > start + offset
        assert schedule.next_after(following.fires_at - timedelta(microseconds=1)) == following
        if offset:
            middle = start + offset + (following.fires_at - start - offset) / 2
            assert middle == following.fires_at or schedule.next_after(middle) == following


@settings(deadline=None)
@given(text=st.text(alphabet="0123456789*/-,#?LWHR@ adnosuy(\t\n", max_size=30))
def test_any_text_is_read_or_refused_in_one_sentence(text):
    try:
        schedule = CronSchedule(parse_cron(text, hash_key="k"), zone("UTC"))
    except ValueError as refusal:
        assert "\n" not in str(refusal)  # noqa: PT017 - both ways are right
        return
    assert schedule.next_after(datetime(2026, 1, 1, tzinfo=UTC)) is not None
