"""From what a user wrote to the schedule behind it, and the checks that need one."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, assert_never
from zoneinfo import ZoneInfo

from scheduler.domain.calendar import Calendar
from scheduler.domain.calendar_schedule import CalendarSchedule
from scheduler.domain.counted_schedules import BoundedCount, ListSchedule, MonthSchedule, SpanSchedule, TwiceAMonth
from scheduler.domain.cron import parse_cron
from scheduler.domain.cron_schedule import cron_schedule
from scheduler.domain.dst import DstRules, plan_wall, rules_of
from scheduler.domain.jitter import jittered
from scheduler.domain.planned import (
    MICROSECOND,
    CountedSchedule,
    PlannedInstant,
    Schedule,
    SteadySchedule,
    is_counted,
    is_steady,
    next_firing,
    planned,
)
from scheduler.domain.zones import zone
from schemas.calendar_trigger import CalendarTrigger
from schemas.happening_trigger import MissingTrigger
from schemas.trigger_model import TimeTriggerModel
from schemas.trigger_spec import AtTrigger, CronTrigger, EveryTrigger, PlannedTriggerSpec, TriggerSpec
from schemas.vocabulary import FoldRule, GapRule

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


class BoundedSteady(BoundedSchedule):
    """A schedule between two instants that counts where no clock is changed."""

    __slots__ = ("_steady",)

    def __init__(self, inner: SteadySchedule, before_start: datetime | None, ends_at: datetime | None) -> None:
        super().__init__(inner, before_start, ends_at)
        self._steady = inner

    def count_in(self, since: datetime, until: datetime) -> int | None:
        since = max(since, self._before_start) if self._before_start is not None else since
        until = min(until, self._ends_at) if self._ends_at is not None else until
        return self._steady.count_in(since, until) if since < until else 0


class TriggerError(ValueError):
    """One plain sentence, and which key of the trigger it is about."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def build_schedule(
    trigger: PlannedTriggerSpec,
    *,
    timezone: str,
    hash_key: str,
    anchor: datetime,
    calendars: Mapping[str, Calendar] | None = None,
) -> Schedule:
    """Return the schedule of a trigger.

    ``timezone`` is the IANA name that holds for it, ``hash_key`` names tenant and job (what ``H``
    and ``jitter`` are spread by), ``anchor`` is the time of the first apply, for intervals without one of their
    own. ``starts_at`` and ``ends_at`` are themselves instants at which it may fire; ``max_fires``
    is not looked at, since it needs the ledger. Of what looks for something missing they are the times of the
    looks. ``calendars`` has the calendar that a calendar
    trigger names, by name or country. The result is a CountedSchedule but for cron, calendars, and
    months whose repeated wall times fire twice.

    Raises:
        ValueError: one plain sentence about the time zone, the expression or the calendar.
    """
    tz = zone(timezone)
    starts_at, ends_at = borders_of(trigger, tz)
    before_start = starts_at - MICROSECOND if starts_at else None
    if isinstance(trigger, MissingTrigger):
        hour, minute = map(int, trigger.missing.by.split(":"))
        daily = cron_schedule(parse_cron(f"{minute} {hour} * * *"), tz, rules_of(None))
        return daily if before_start is None and ends_at is None else _bounded(daily, before_start, ends_at)
    rules = rules_of(trigger.dst)
    if isinstance(trigger, CalendarTrigger):
        calendar = _calendar(trigger.calendar.calendar_name, calendars or {})
        schedule: Schedule = CalendarSchedule(trigger.calendar, tz, calendar, rules)
    else:
        schedule = _unbounded(trigger, tz, hash_key, anchor)
    if before_start is not None or ends_at is not None:
        schedule = _bounded(schedule, before_start, ends_at)
    if trigger.jitter:
        return jittered(schedule, key=f"{hash_key}/{trigger.key}", jitter=trigger.jitter, ends_at=ends_at)
    return schedule


def _bounded(schedule: Schedule, before_start: datetime | None, ends_at: datetime | None) -> Schedule:
    if is_counted(schedule):
        return BoundedCount(schedule, before_start, ends_at)
    if is_steady(schedule):
        return BoundedSteady(schedule, before_start, ends_at)
    return BoundedSchedule(schedule, before_start, ends_at)


def _calendar(name: str | None, calendars: Mapping[str, Calendar]) -> Calendar | None:
    if name is not None and name not in calendars:
        raise ValueError(f"there is no calendar {name}")
    return None if name is None else calendars[name]


def _unbounded(
    trigger: CronTrigger | EveryTrigger | AtTrigger, tz: ZoneInfo, hash_key: str, anchor: datetime
) -> Schedule:
    rules = rules_of(trigger.dst)
    match trigger:
        case CronTrigger():
            match = trigger.day_match
            fields = parse_cron(trigger.cron, seconds=trigger.seconds, day_match=match, hash_key=hash_key)
            return cron_schedule(fields, tz, rules)
        case EveryTrigger(every=every):
            start = instant_of(trigger.anchor, tz, rules) if trigger.anchor else anchor
            if not every.months:
                return SpanSchedule(start, every.span, tz)
            wall = trigger.anchor if trigger.anchor and trigger.anchor.tzinfo is None else start.astimezone(tz)
            months = MonthSchedule(wall, every.months, tz, rules)
            return TwiceAMonth(months) if rules.fold is FoldRule.BOTH else months
        case AtTrigger():
            return ListSchedule(at for moment in trigger.at for at in _listed(moment, tz, rules))
        case _:
            assert_never(trigger)


def borders_of(trigger: TriggerSpec, tz: ZoneInfo) -> tuple[datetime | None, datetime | None]:
    """Return the first and the last instant at which ``trigger`` may fire; None: there is no such border.

    Raises:
        ValueError: one lies at the edge of the calendar.
    """
    rules = rules_of(trigger.dst if isinstance(trigger, TimeTriggerModel) else None)
    starts_at = instant_of(trigger.starts_at, tz, rules) if trigger.starts_at else None
    return starts_at, instant_of(trigger.ends_at, tz, rules, last=True) if trigger.ends_at else None


def instant_of(moment: datetime, tz: ZoneInfo, rules: DstRules, *, last: bool = False) -> datetime:
    """Return the one instant that ``moment`` (a wall time, or an instant with its offset) means as a border.

    A skipped wall time is the instant of the change. A repeated one is the first of the two, or what
    ``fold`` says; with ``both`` it is the first, or the second if ``last``: the longest stretch.

    Raises:
        ValueError: it lies at the edge of the calendar.
    """
    try:
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
        return plan_wall(moment, tz, DstRules(GapRule.RUN_AFTER, rules.fold))[-1 if last else 0].fires_at
    except OverflowError:
        raise ValueError(f"{moment.isoformat()} is at the edge of the calendar; allowed are years 2 to 9990") from None


def _listed(moment: datetime, tz: ZoneInfo, rules: DstRules) -> tuple[PlannedInstant, ...]:
    at = instant_of(moment, tz, rules)
    return plan_wall(moment, tz, rules) if moment.tzinfo is None else (planned(at, tz),)


def check_trigger(trigger: TriggerSpec, *, timezone: str, calendars: Mapping[str, Calendar] | None = None) -> None:
    """Refuse a trigger that cannot be read or can never fire; cheap, with a bounded search.

    A time in the past is no error: the file is right, it was only applied late.

    Raises:
        TriggerError: one key is wrong.
        ValueError: one plain sentence that says what is wrong and what is allowed.
    """
    begins, ends = borders_of(trigger, zone(timezone))
    if trigger.starts_at and trigger.ends_at and begins and ends and ends < begins:
        start, end = trigger.starts_at.isoformat(), trigger.ends_at.isoformat()
        raise TriggerError("ends_at", f"{end} is earlier than starts_at, which is {start}")
    if not isinstance(trigger, TimeTriggerModel):
        return
    schedule = build_schedule(trigger, timezone=timezone, hash_key="", anchor=_CHECK_ANCHOR, calendars=calendars)
    searched_from = _DAWN if is_counted(schedule) else _CHECK_ANCHOR
    if next_firing(schedule, searched_from) is None:
        if isinstance(trigger, CalendarTrigger) and trigger.starts_at is None and trigger.ends_at is None:
            raise ValueError("the trigger never fires on an open day of its calendar; roll can move it to one")
        raise ValueError("the trigger never fires between its starts_at and its ends_at")
