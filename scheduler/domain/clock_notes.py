"""What a change of the clock has to do with a firing, in words for people."""

from datetime import datetime, time, timedelta
from typing import Final

from scheduler.domain.planned import PlannedInstant
from scheduler.domain.zones import change_around, offset_at, to_instant, zone
from schemas.durations import format_duration

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
