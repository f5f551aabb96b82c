"""What a change of the clock has to do with a firing or with a trigger, in words for people."""

from datetime import datetime, time, timedelta
from typing import Final

from scheduler.domain.cron import parse_cron
from scheduler.domain.planned import PlannedInstant
from scheduler.domain.zones import change_around, offset_at, to_instant, zone
from schemas.durations import format_duration
from schemas.trigger_model import DstSpec
from schemas.trigger_spec import CronTrigger
from schemas.vocabulary import FoldRule, GapRule

_SECOND: Final = timedelta(seconds=1)


def note_of(at: PlannedInstant) -> str | None:
    """Return a note for a firing on a day, by its wall time, on which the clock is changed; else None."""
    tz, wall = zone(at.zone), datetime.fromisoformat(at.wall_time)
    change = change_around(wall, tz)
    if change is not None and change.is_gap:
        return f"the clock skips {wall:%H:%M}; it runs right after the gap"
    if change is not None:
        second = at.fires_at.replace(tzinfo=None) >= change.at
        return f"the {'second' if second else 'first'} of two {wall:%H:%M}"
    midnight = datetime.combine(wall.date(), time())
    start, end = (to_instant(day, tz).replace(tzinfo=None) for day in (midnight, midnight + timedelta(days=1)))
    by = offset_at(end - _SECOND, tz) - offset_at(start - _SECOND, tz)
    if not by:
        return None
    return f"the clock goes {'forward' if by > timedelta(0) else 'back'} by {format_duration(abs(by))} on this day"


def warn_of_dst(trigger: CronTrigger, stated: DstSpec, *, hash_key: str) -> str | None:
    """Return a warning if ``stated`` would change when fixed times fire, and the expression has none; else None."""
    rules = {"gap": stated.gap is GapRule.RUN_AFTER, "fold": stated.fold in {FoldRule.FIRST, FoldRule.SECOND}}
    idle = " and ".join(f"{name}: {getattr(stated, name)}" for name, changes in rules.items() if changes)
    if not idle or not parse_cron(trigger.cron, seconds=trigger.seconds, hash_key=hash_key).wild:
        return None
    return (
        f"{trigger.cron!r} follows the wall clock, so {idle} changes nothing; write the minutes and hours out "
        "if each of them is meant as a fixed time"
    )
