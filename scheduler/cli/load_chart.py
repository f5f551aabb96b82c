"""The load of a simulation as text: a line of signs by minute or by hour, and the busiest minutes."""

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from scheduler.simulation.instants import MINUTE, to_instant

_SIGNS: Final = "▁▂▃▄▅▆▇█"
_A_DAY: Final = 24 * 60
_MOST_DAYS: Final = 14
"""More days than these are laid upon one another."""
_MINUTELY: Final = timedelta(hours=3)
"""What is no longer than this is shown by minute."""
_HOUR: Final = timedelta(hours=1)
_A_MOMENT: Final = timedelta(microseconds=1)


def chart(load: Mapping[int, int], since: datetime, until: datetime) -> Iterator[str]:
    """Yield lines of signs, times in UTC.

    Of up to three hours a line per hour, with a sign for each minute; else a line per day, or one of all days
    together, with a sign for each hour.
    """
    if until - since <= _MINUTELY:
        yield from _by_minute(load, since.astimezone(UTC), until.astimezone(UTC))
        return
    hours: Counter[datetime] = Counter()
    for minute, count in load.items():
        hours[to_instant(minute * MINUTE).replace(minute=0)] += count
    days = sorted({hour.date() for hour in (*hours, since.astimezone(UTC), until.astimezone(UTC) - _A_MOMENT)})
    if len(days) <= _MOST_DAYS:
        most = max(hours.values(), default=0)
        yield f"runs started by hour of the day (UTC); at most {most} in an hour"
        for day in days:
            counts = [hours[datetime(day.year, day.month, day.day, hour, tzinfo=UTC)] for hour in range(24)]
            yield f"{day}  {_line(counts, most)}  {sum(counts)}"
        return
    sums = [0] * 24
    for hour, count in hours.items():
        sums[hour.hour] += count
    yield f"runs started by hour of the day (UTC), {len(days)} days together; at most {max(sums)} in an hour"
    yield _line(sums, max(sums))


def _by_minute(load: Mapping[int, int], since: datetime, until: datetime) -> Iterator[str]:
    minutes = {to_instant(minute * MINUTE): count for minute, count in load.items()}
    most = max(minutes.values(), default=0)
    yield f"runs started by minute of the hour (UTC); at most {most} in a minute"
    hour = min((since, *minutes)).replace(minute=0, second=0, microsecond=0)
    last = max((until - _A_MOMENT, *minutes))
    while hour <= last:
        counts = [minutes.get(hour + minute * timedelta(minutes=1), 0) for minute in range(60)]
        yield f"{hour:%Y-%m-%d %H}h  {_line(counts, most)}  {sum(counts)}"
        hour += _HOUR


def busiest(load: Mapping[int, int], count: int) -> list[tuple[datetime, int]]:
    """Return the minutes in which most starts, the earlier first where as many do."""
    found = heapq.nsmallest(count, load.items(), key=lambda pair: (-pair[1], pair[0]))
    return [(to_instant(minute * MINUTE), starts) for minute, starts in found]


def by_minute(load: Mapping[int, int]) -> dict[str, int]:
    """Return the load by minute as text (UTC, RFC 3339), ascending; a year has half a million of them."""
    times = [f"T{minute // 60:02}:{minute % 60:02}:00Z" for minute in range(_A_DAY)]
    days: dict[int, str] = {}
    found = {}
    for at in sorted(load):
        day, minute = divmod(at, _A_DAY)
        if day not in days:
            days[day] = f"{to_instant(at * MINUTE):%Y-%m-%d}"
        found[days[day] + times[minute]] = load[at]
    return found


def _line(counts: list[int], most: int) -> str:
    return "".join(_SIGNS[(count * len(_SIGNS) - 1) // most] if count else "·" for count in counts)
