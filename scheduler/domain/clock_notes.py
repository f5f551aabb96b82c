"""What a change of the clock or an end has to do with a firing or with a trigger, in words for people."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, time, timedelta
from typing import Final

from scheduler.domain.calendar import END, Calendar
from scheduler.domain.cron import parse_cron
from scheduler.domain.planned import PlannedInstant
from scheduler.domain.zones import change_around, offset_at, to_instant, zone
from schemas.calendar_trigger import CalendarTrigger
from schemas.durations import format_duration
from schemas.trigger_model import DstSpec
from schemas.trigger_spec import CronTrigger, TriggerSpec
from schemas.vocabulary import FoldRule, GapRule, Verdict

_SECOND: Final = timedelta(seconds=1)
_LEFT_OUT: Final = {
    Verdict.DST_GAP: "which the clock skips (gap: skip)",
    Verdict.SKIPPED_CALENDAR: "where the calendar is closed (roll: none)",
}


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


def say_left_out(instants: Sequence[PlannedInstant]) -> str:
    """Return one line about what the schedules leave out; there is at least one."""
    said = []
    for verdict, why in _LEFT_OUT.items():
        of_verdict = [at for at in instants if at.skipped is verdict]
        if of_verdict:
            first = of_verdict[0].wall_time.replace("T", " ")
            more = f" and {len(of_verdict) - 1} more" if len(of_verdict) > 1 else ""
            said.append(f"{first}{more}, {why}")
    return f"left out: {'; '.join(said)}"


def ends_of(trigger: TriggerSpec, calendars: Mapping[str, Calendar]) -> Iterator[str]:
    """Yield what makes a trigger fire no more, apart from having no more times."""
    if trigger.max_fires is not None:
        yield f"max_fires is {trigger.max_fires}"
    if trigger.ends_at is not None:
        yield f"ends_at is {trigger.ends_at.isoformat(sep=' ')}"
    name = trigger.calendar.calendar_name if isinstance(trigger, CalendarTrigger) else None
    if name is not None and calendars[name].last < END:
        yield f"the data of calendar {name} end on {calendars[name].last}"


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
