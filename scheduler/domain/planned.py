"""What a schedule is, whichever rule is behind it."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple, Protocol, TypeGuard, runtime_checkable
from zoneinfo import ZoneInfo

from schemas.vocabulary import Verdict

MICROSECOND: Final = timedelta(microseconds=1)
_MOST_SKIPPED: Final = 1000
"""So many left-out instants in a row are taken for the rule: three years of closed days."""


class PlannedInstant(NamedTuple):
    """One instant at which a trigger is to fire."""

    fires_at: datetime
    """Aware, UTC."""
    wall_time: str
    """The planned wall time, ISO 8601 without offset. For one that a gap skips it is the time that was
    planned (``02:30``), the first of them, while ``fires_at`` lies right after the gap if it fires, and
    a microsecond before the gap if it is left out."""
    zone: str
    """IANA name of the zone that ``wall_time`` is read in."""
    skipped: Verdict | None = None
    """Why the schedule itself leaves it out (``dst_gap``, ``skipped_calendar``): it is a row of the ledger
    and starts nothing. None: it fires."""
    times: int = 1
    """How many skipped wall times the row stands for; 1 where it fires."""
    why: str | None = None
    """Of one that is ``skipped_calendar``: ``calendar tokyo is closed on this day (Greenery Day)``."""


class Schedule(Protocol):
    """The time part of a trigger: a pure function from one instant to the next."""

    def next_after(self, instant: datetime) -> PlannedInstant | None:
        """Return the first planned instant strictly later than ``instant``; None if there is none.

        Successive results strictly increase and each exists. Takes microseconds, and a bounded
        time in the worst case; safe to call in a handler.

        Raises:
            ValueError: ``instant`` is naive.
        """
        ...


@runtime_checkable
class CountedSchedule(Schedule, Protocol):
    """A schedule that counts its instants from 0 without visiting them: a long outage costs nothing."""

    def index_after(self, instant: datetime) -> int:
        """Return how many planned instants are not later than ``instant``: the index of the next one."""
        ...

    def nth(self, index: int) -> PlannedInstant | None:
        """Return the planned instant of ``index``; None if there are no so many."""
        ...

    def skips(self, begin: int, end: int) -> Sequence[int]:
        """Return the indexes from ``begin`` to below ``end`` of what is left out, ascending."""
        ...


class SteadySchedule(Schedule, Protocol):
    """A schedule that counts where no clock is changed: a long outage is not walked."""

    def count_in(self, since: datetime, until: datetime) -> int | None:
        """Return how many instants lie in (since, until], all of which fire; None: that has to be walked."""
        ...


def is_steady(schedule: Schedule) -> TypeGuard[SteadySchedule]:
    return hasattr(schedule, "count_in")


def is_counted(schedule: Schedule) -> TypeGuard[CountedSchedule]:
    """Whether the schedule counts; asked at each tick, where isinstance of a Protocol takes 20 µs."""
    return hasattr(schedule, "index_after")


def next_firing(schedule: Schedule, instant: datetime) -> PlannedInstant | None:
    """Return the first instant after ``instant`` that really fires; None if none is found in _MOST_SKIPPED.

    For whoever wants firings only; the ledger wants the instants that are left out too.
    """
    for _ in range(_MOST_SKIPPED):
        at = schedule.next_after(instant)
        if at is None or at.skipped is None:
            return at
        instant = at.fires_at
    return None


def to_utc(instant: datetime) -> datetime:
    """Return ``instant`` in UTC.

    Raises:
        ValueError: it is naive.
    """
    if instant.tzinfo is None:
        raise ValueError("an instant needs a time zone")
    return instant.astimezone(UTC)


def planned(instant: datetime, tz: ZoneInfo) -> PlannedInstant:
    """Return the planned instant whose wall time is what the clocks of ``tz`` show then."""
    wall = instant.astimezone(tz).replace(tzinfo=None)
    return PlannedInstant(instant, wall.isoformat(), str(tz))
