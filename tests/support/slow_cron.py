"""A cron that looks at every minute: slow, plain, and sharing nothing with the product but the zone data."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)
CORRECTION = timedelta(hours=3)
MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Expression:
    """The five fields as texts, and the values that each of them stands for."""

    texts: tuple[str, str, str, str, str]
    values: tuple[frozenset[int], ...]

    @property
    def text(self) -> str:
        return " ".join(self.texts)

    @property
    def is_wild(self) -> bool:
        return self.texts[0][0] == "*" or self.texts[1][0] == "*" or "/" in self.texts[1]

    def takes(self, wall: datetime) -> bool:
        minute, hour, day, month, weekday = self.values
        if wall.minute not in minute or wall.hour not in hour or wall.month not in month:
            return False
        by_day, by_weekday = wall.day in day, wall.isoweekday() % 7 in weekday
        starred = self.texts[2][0] == "*" or self.texts[4][0] == "*"
        return by_day and by_weekday if starred else by_day or by_weekday


def expression(*fields: str | frozenset[int] | set[int]) -> Expression:
    """Make an expression of five fields, each a set of values, ``*`` or ``*/n``."""
    texts, values = [], []
    for field, (low, high) in zip(fields, ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6)), strict=True):
        if isinstance(field, str):
            step = int(field.partition("/")[2] or 1)
            texts.append(field)
            values.append(frozenset(range(low, high + 1, step)))
        else:
            texts.append(",".join(map(str, sorted(field))))
            values.append(frozenset(field))
    return Expression(tuple(texts), tuple(values))


@dataclass(frozen=True)
class Minute:
    at: datetime
    wall: datetime
    pass_: str | None
    """first or second of a repeated wall time; None: the only one."""


class Window:
    """The minutes of a zone in (start, start + length], as its clocks show them."""

    def __init__(self, tz: ZoneInfo, start: datetime, length: timedelta) -> None:
        self.tz = tz
        self.start = start
        self.end = start + length
        self.count = length // MINUTE

    def __repr__(self) -> str:
        return f"{self.tz} {self.start} to {self.end}"

    @cached_property
    def _seen(self) -> tuple[list[Minute], list[tuple[datetime, list[datetime]]]]:
        """The minutes; and where the clock goes forward, the wall times that it leaves out."""
        walls = [
            (self.start + n * MINUTE).astimezone(self.tz).replace(tzinfo=None, fold=0) for n in range(self.count + 1)
        ]
        passes: dict[int, str] = {}
        gaps = []
        for n in range(1, len(walls)):
            jump = walls[n] - walls[n - 1] - MINUTE
            size = abs(jump) // MINUTE
            if jump > timedelta(0):
                gaps.append((self.start + n * MINUTE, [walls[n - 1] + (k + 1) * MINUTE for k in range(size)]))
            elif jump and -jump <= CORRECTION:
                passes |= dict.fromkeys(range(n - size, n), "first") | dict.fromkeys(range(n, n + size), "second")
        minutes = [Minute(self.start + n * MINUTE, walls[n], passes.get(n)) for n in range(1, len(walls))]
        return minutes, gaps

    def firings(self, cron: Expression, *, gap: str, fold: str) -> list[tuple[datetime, datetime, str | None, int]]:
        """Return (instant, wall time, why left out, wall times left out) of all that is planned, ascending."""
        return sorted(self._planned(cron, gap, fold))

    def _planned(self, cron: Expression, gap: str, fold: str) -> Iterator[tuple[datetime, datetime, str | None, int]]:
        made_up = set()
        for at, walls in self._seen[1]:
            taken = [wall for wall in walls if cron.takes(wall)]
            if taken and gap == "skip":
                yield at - MICROSECOND, taken[0], "dst_gap", len(taken)
            elif taken and not cron.is_wild and len(walls) * MINUTE <= CORRECTION:
                made_up.add(at)
                yield at, taken[0], None, 1
        for minute in self._taken(cron):
            wanted = cron.is_wild or minute.pass_ is None or fold in {minute.pass_, "both"}
            if wanted and minute.at not in made_up:
                yield minute.at, minute.wall, None, 1

    def _taken(self, cron: Expression) -> list[Minute]:
        return [minute for minute in self._seen[0] if cron.takes(minute.wall)]
