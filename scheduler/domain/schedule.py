"""From what a user wrote to the schedule behind it, and the checks that need one."""

from datetime import UTC, datetime
from typing import Final, assert_never

from scheduler.domain.counted_schedules import BoundedCount, ListSchedule, MonthSchedule, SpanSchedule
from scheduler.domain.cron import parse_cron
from scheduler.domain.cron_schedule import CronSchedule
from scheduler.domain.planned import MICROSECOND, CountedSchedule, PlannedInstant, Schedule, is_counted
from scheduler.domain.zones import to_instant, zone
from schemas.trigger_spec import AtTrigger, CronTrigger, EveryTrigger, TriggerSpec

__all__ = ["CountedSchedule", "PlannedInstant", "Schedule", "build_schedule", "check_trigger", "is_counted"]

_DAWN: Final = datetime(1, 1, 3, tzinfo=UTC)
"""Before every instant a user can write, with room for any offset."""
_CHECK_ANCHOR: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""Stands for the time of the first apply where only the form of a trigger is checked."""


class BoundedSchedule:
    """A schedule between two instants, both included."""

    __slots__ = ("_before_start", "_ends_at", "_inner")

    def __init__(self, inner: Schedule, before_start: datetime | None, ends_at: datetime | None) -> None:
        self._inner = inner
        self._before_start = before_start
        self._ends_at = ends_at

    def next_after(self, instant: datetime) -> PlannedInstant | None:
        if self._before_start is not None and instant < self._before_start:
            instant = self._before_start
        at = self._inner.next_after(instant)
        return None if at is None or (self._ends_at is not None and at.fires_at > self._ends_at) else at


def build_schedule(trigger: TriggerSpec, *, timezone: str, hash_key: str, anchor: datetime) -> Schedule:
    """Return the schedule of a trigger.

    ``timezone`` is the IANA name that holds for it, ``hash_key`` names tenant and job (what ``H``
    is spread by), ``anchor`` is the time of the first apply, for intervals without one of their
    own. ``starts_at`` and ``ends_at`` are themselves instants at which it may fire; ``max_fires``
    is not looked at, since it needs the ledger. The result is a CountedSchedule but for cron.

    Raises:
        ValueError: one plain sentence about the time zone or the expression.
    """
    tz = zone(timezone)

    def instant(moment: datetime) -> datetime:
        try:
            return moment.astimezone(UTC) if moment.tzinfo else to_instant(moment, tz)
        except OverflowError:
            raise ValueError(
                f"{moment.isoformat()} is at the edge of the calendar; allowed are years 2 to 9990"
            ) from None

    before_start = instant(trigger.starts_at) - MICROSECOND if trigger.starts_at else None
    ends_at = instant(trigger.ends_at) if trigger.ends_at else None
    counted: CountedSchedule
    match trigger:
        case CronTrigger():
            fields = parse_cron(trigger.cron, seconds=trigger.seconds, day_match=trigger.day_match, hash_key=hash_key)
            cron = CronSchedule(fields, tz)
            return BoundedSchedule(cron, before_start, ends_at) if before_start or ends_at else cron
        case EveryTrigger(every=every):
            start = instant(trigger.anchor) if trigger.anchor else anchor
            counted = MonthSchedule(start, every.months, tz) if every.months else SpanSchedule(start, every.span, tz)
        case AtTrigger():
            counted = ListSchedule(_listed(moment, instant(moment), timezone) for moment in trigger.at)
        case _:
            assert_never(trigger)
    return BoundedCount(counted, before_start, ends_at) if before_start or ends_at else counted


def _listed(moment: datetime, fires_at: datetime, timezone: str) -> PlannedInstant:
    wall = moment if moment.tzinfo is None else fires_at.astimezone(zone(timezone))
    return PlannedInstant(fires_at, wall.replace(tzinfo=None).isoformat(), timezone)


def check_trigger(trigger: TriggerSpec, *, timezone: str) -> None:
    """Refuse a trigger that cannot be read or can never fire; cheap, with a bounded search.

    A time in the past is no error: the file is right, it was only applied late.

    Raises:
        ValueError: one plain sentence that says what is wrong and what is allowed.
    """
    if trigger.starts_at and trigger.ends_at:
        both_wall = (trigger.starts_at.tzinfo is None) == (trigger.ends_at.tzinfo is None)
        if both_wall and trigger.ends_at < trigger.starts_at:
            raise ValueError("ends_at is earlier than starts_at")
    schedule = build_schedule(trigger, timezone=timezone, hash_key="", anchor=_CHECK_ANCHOR)
    searched_from = _DAWN if is_counted(schedule) else _CHECK_ANCHOR
    if schedule.next_after(searched_from) is None:
        raise ValueError("the trigger never fires between its starts_at and its ends_at")
