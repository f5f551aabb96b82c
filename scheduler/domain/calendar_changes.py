"""What a change of a calendar, or of any schedule, does to the firings of the next time."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from scheduler.domain.planned import Schedule

HORIZON: Final = timedelta(days=90)
"""So far ahead people are told which firings move."""
_MOST: Final = 1000
"""Instants of one schedule that are looked at."""


@dataclass(frozen=True, slots=True)
class MovedFirings:
    """The firings that one of two schedules has and the other has not; each list ascends."""

    removed: tuple[datetime, ...]
    added: tuple[datetime, ...]

    def __bool__(self) -> bool:
        return bool(self.removed or self.added)


def moved_firings(
    before: Schedule | None, after: Schedule | None, *, since: datetime, horizon: timedelta = HORIZON
) -> MovedFirings:
    """Compare two schedules in (since, since + horizon]; None: there is none.

    An instant that a schedule leaves out (a closed day) is no firing. The first 1000 instants of
    each are looked at, and none later than where the shorter look ends.
    """
    old, old_until = _firings(before, since, since + horizon)
    new, new_until = _firings(after, since, since + horizon)
    until = min(old_until, new_until)
    return MovedFirings(
        removed=tuple(at for at in sorted(old - new) if at <= until),
        added=tuple(at for at in sorted(new - old) if at <= until),
    )


def _firings(schedule: Schedule | None, since: datetime, until: datetime) -> tuple[set[datetime], datetime]:
    found: set[datetime] = set()
    last = until
    at = schedule.next_after(since) if schedule is not None else None
    for _ in range(_MOST):
        if schedule is None or at is None or at.fires_at > until:
            return found, until
        if at.skipped is None:
            found.add(at.fires_at)
        last = at.fires_at
        at = schedule.next_after(last)
    return found, last
