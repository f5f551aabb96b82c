"""The days of a cron expression, for people: which ones come, and what to say of a surprising rule."""

from collections.abc import Iterator
from datetime import date, datetime
from itertools import islice
from typing import Final

from scheduler.domain.cron import MAX_SEARCH_YEARS, CronFields, parse_cron
from scheduler.domain.zones import zone
from schemas.trigger_spec import CronTrigger

_SHOWN: Final = 5
_MONTHS_A_YEAR: Final = 12


def days_from(fields: CronFields, first: date) -> Iterator[date]:
    """Yield the days on which the expression fires, from ``first`` on, for MAX_SEARCH_YEARS."""
    for month in range(first.month - 1, MAX_SEARCH_YEARS * _MONTHS_A_YEAR):
        year, at = first.year + month // _MONTHS_A_YEAR, month % _MONTHS_A_YEAR + 1
        if at in fields.months:
            days = (date(year, at, day) for day in fields.days_in(year, at))
            yield from (day for day in days if day >= first)


def warn_of_union(trigger: CronTrigger, *, timezone: str, hash_key: str, now: datetime) -> str | None:
    """Return a warning if both day fields are given and nobody said how they go together; else None.

    It names the next dates, by which the writer sees what is meant.
    """
    if "day_match" in trigger.model_fields_set:
        return None
    fields = parse_cron(trigger.cron, seconds=trigger.seconds, hash_key=hash_key)
    if not fields.union:
        return None
    today = now.astimezone(zone(timezone)).date()
    dates = ", ".join(f"{day:%a} {day}" for day in islice(days_from(fields, today), _SHOWN))
    return (
        "day of month and day of week are both given, and either one is enough: it fires on "
        f"{dates}; say day_match: any if that is meant, day_match: all if both must match"
    )
