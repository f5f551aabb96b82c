"""Cron, every change of every zone from 2000 to 2040, every rule: against a cron that looks at every minute."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import product
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pytest

from scheduler.domain.cron import parse_cron
from scheduler.domain.cron_schedule import CronSchedule
from scheduler.domain.dst import DstRules
from scheduler.domain.zones import zone, zone_names
from schemas.vocabulary import FoldRule, GapRule
from tests.support.slow_cron import MICROSECOND, MINUTE, Expression, Window, expression

FIRST, LAST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2041, 1, 1, tzinfo=UTC)
WEEK = timedelta(days=7)
SECOND = timedelta(seconds=1)
AROUND = timedelta(hours=2)


class Jump(NamedTuple):
    """A change of offset: seen from ``at`` on, in ``tz`` and in all zones that change alike."""

    at: datetime
    before: timedelta
    after: timedelta


def offset(tz: ZoneInfo, at: datetime) -> timedelta:
    return at.astimezone(tz).utcoffset()


def jumps(tz: ZoneInfo) -> Iterator[Jump]:
    """Yield the changes, found to the second in steps of a week: none is nearer to the next."""
    at, before = FIRST, offset(tz, FIRST)
    while at < LAST:
        low, at = at, at + WEEK
        if (after := offset(tz, at)) != before:
            high = at
            while high - low > SECOND:
                middle = low + (high - low) // SECOND // 2 * SECOND
                low, high = (low, middle) if offset(tz, middle) == after else (middle, high)
            yield Jump(high, before, after)
            before = after


@cache
def all_jumps() -> dict[Jump, ZoneInfo]:
    """Every change once, with one of the zones that have it."""
    return {jump: zone(name) for name in sorted(zone_names()) for jump in jumps(zone(name))}


def expressions(jump: Jump) -> list[Expression]:
    """Fixed and wild times at, in, around the wall times that the change skips or repeats."""
    size = abs(jump.after - jump.before)
    start = (jump.at + min(jump.before, jump.after)).replace(tzinfo=None)
    middle, end = start + size / 2, start + size
    each = {start.minute, middle.minute, 59}
    days = {start.day}, {start.month}
    return [
        expression({middle.minute}, {middle.hour}, "*", "*", "*"),
        expression({start.minute}, {start.hour}, "*", "*", "*"),
        expression({end.minute}, {end.hour}, "*", "*", "*"),
        expression(each, {start.hour, middle.hour, end.hour}, "*", "*", "*"),
        expression({7, 37}, set(range(24)), "*", "*", "*"),
        expression(each, {middle.hour}, *days, "*"),
        expression({middle.minute}, {middle.hour}, *days, {(start.isoweekday() + 1) % 7}),
        expression("*/20", "*", "*", "*", "*"),
        expression({0}, "*", "*", "*", "*"),
        expression({middle.minute}, "*/2", "*", "*", "*"),
        expression("*/15", {middle.hour}, "*", "*", "*"),
        expression("*", {start.hour}, *days, "*"),
    ]


RULES = [DstRules(gap, fold) for gap, fold in product(GapRule, FoldRule)]


def check(jump: Jump, tz: ZoneInfo, cases: Iterable[tuple[Expression, DstRules]]) -> None:
    size = abs(jump.after - jump.before)
    window = Window(tz, jump.at - size - AROUND, 2 * (size + AROUND))
    bases = [jump.at + d for d in (-size, -size / 2, -MINUTE, -MICROSECOND, 0 * MINUTE, MICROSECOND, size / 2, size)]
    for cron, rules in cases:
        schedule = CronSchedule(parse_cron(cron.text), tz, rules)
        case = f"{cron.text} in {tz} at {jump.at:%Y-%m-%dT%H:%M}Z, gap {rules.gap}, fold {rules.fold}"
        expected = window.firings(cron, gap=rules.gap, fold=rules.fold)

        found, at = [], schedule.next_after(window.start)
        while at is not None and at.fires_at <= window.end:
            found.append((at.fires_at, datetime.fromisoformat(at.wall_time), at.skipped, at.times))
            at = schedule.next_after(at.fires_at)
        assert expected == found, case

        instants = [row[0] for row in expected]
        for base in bases:
            following = schedule.next_after(base)
            rest = instants[bisect_right(instants, base) :]
            if rest:
                assert following is not None, case
                assert following.fires_at == rest[0], f"{case}, asked at {base}"
            else:
                assert following is None or following.fires_at > window.end, f"{case}, asked at {base}"


def some_cases(number: int, jump: Jump) -> Iterator[tuple[Expression, DstRules]]:
    """A quarter of the expressions, each by one rule; a rule of many years gets them all, one year after the other."""
    for index, cron in enumerate(expressions(jump)[number % 4 :: 4]):
        yield cron, RULES[(number // 4 + index) % len(RULES)]


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_every_change_of_every_zone():
    found = all_jumps()
    assert len(found) > 3000
    for number, (jump, tz) in enumerate(found.items()):
        check(jump, tz, some_cases(number, jump))


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_every_kind_of_change_by_every_rule():
    """Changes of the same size at the same wall time are of one kind."""
    kinds = {((jump.at + jump.before).time(), jump.before, jump.after): (jump, tz) for jump, tz in all_jumps().items()}
    assert len(kinds) > 100
    for jump, tz in kinds.values():
        check(jump, tz, product(expressions(jump), RULES))


ODD = {
    "America/New_York": 10,
    "Europe/Dublin": 10,  # winter time is the one with a negative saving
    "Australia/Lord_Howe": 10,  # half an hour
    "Antarctica/Troll": 10,  # two hours
    "Antarctica/Casey": 1,  # three hours, there and back
    "America/Sao_Paulo": 5,  # at midnight
    "Asia/Beirut": 10,  # at midnight
    "Africa/Cairo": 5,  # at midnight
    "Asia/Gaza": 5,  # a minute past midnight, and more often than twice a year
    "Africa/Casablanca": 5,  # by the moon
    "Asia/Pyongyang": 1,  # half an hour for some years
    "America/Caracas": 1,
    "Pacific/Apia": 1,  # a day is missing
    "Pacific/Fakaofo": 1,
}


@pytest.mark.parametrize(("name", "each"), ODD.items())
def test_some_changes_of_odd_zones(name, each):
    found = list(jumps(zone(name)))[::each]
    assert found
    for number, jump in enumerate(found):
        check(jump, zone(name), some_cases(number, jump))
