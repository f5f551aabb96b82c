"""Spreads firings that would all come at once: a fixed delay of each, drawn from the trigger and the instant.

The delay is a hash and not a random number, so that every Ticker, every restart and `scheduler next`
give the same instant. It is shorter than the way to the next planned instant: the order stays, and
no two firings of a trigger meet.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from scheduler.domain.planned import CountedSchedule, PlannedInstant, Schedule, SteadySchedule, is_counted, is_steady

_MILLISECOND: Final = timedelta(milliseconds=1)
_WHOLE: Final = 1 << 64


class JitteredSchedule:
    """A schedule whose firings come up to ``jitter`` later, none after ``ends_at``; wall times stay as planned."""

    __slots__ = ("_ends_at", "_inner", "_jitter", "_key")

    def __init__(self, inner: Schedule, key: str, jitter: timedelta, ends_at: datetime | None) -> None:
        self._inner = inner
        self._key = key
        self._jitter = jitter
        self._ends_at = ends_at

    def next_after(self, instant: datetime) -> PlannedInstant | None:
        last = self._last_until(instant)
        if last is not None and (late := self._delayed(last)).fires_at > instant:
            return late
        following = self._inner.next_after(instant)
        return None if following is None else self._delayed(following)

    def _delayed(self, at: PlannedInstant) -> PlannedInstant:
        if at.skipped is not None:
            return at
        following = self._inner.next_after(at.fires_at)
        room = self._jitter if following is None else min(self._jitter, following.fires_at - at.fires_at)
        if self._ends_at is not None:
            room = min(room, self._ends_at - at.fires_at)
        delay = self._share(at.fires_at) * (room // _MILLISECOND) // _WHOLE
        return at._replace(fires_at=at.fires_at + delay * _MILLISECOND)

    def _share(self, at: datetime) -> int:
        """Return a number below _WHOLE that depends on the trigger and the instant only."""
        digest = hashlib.sha256(f"{self._key}\0{at.isoformat()}".encode()).digest()
        return int.from_bytes(digest[:8], "big")

    def _last_until(self, instant: datetime) -> PlannedInstant | None:
        """Return the last planned instant in (instant - jitter, instant], the only one that may be still to come.

        The stretch is halved and not walked, since many planned instants may lie in it.
        """
        last, high = self._first_in(instant - self._jitter, instant), instant
        while last is not None and (following := self._first_in(last.fires_at, high)) is not None:
            middle = following.fires_at + (high - following.fires_at) / 2
            last = self._first_in(middle, high)
            if last is None:
                last, high = following, middle
        return last

    def _first_in(self, start: datetime, end: datetime) -> PlannedInstant | None:
        at = self._inner.next_after(start)
        return None if at is None or at.fires_at > end else at


class JitteredCount(JitteredSchedule):
    """A counted schedule, delayed: indexes are those of the planned instants."""

    __slots__ = ("_counted",)

    def __init__(self, inner: CountedSchedule, key: str, jitter: timedelta, ends_at: datetime | None) -> None:
        super().__init__(inner, key, jitter, ends_at)
        self._counted = inner

    def next_after(self, instant: datetime) -> PlannedInstant | None:
        return self.nth(self.index_after(instant))

    def index_after(self, instant: datetime) -> int:
        index = self._counted.index_after(instant)
        last = self.nth(index - 1) if index else None
        return index - 1 if last is not None and last.fires_at > instant else index

    def nth(self, index: int) -> PlannedInstant | None:
        at = self._counted.nth(index)
        return None if at is None else self._delayed(at)

    def skips(self, begin: int, end: int) -> Sequence[int]:
        return self._counted.skips(begin, end)


class JitteredSteady(JitteredSchedule):
    """A schedule that counts where no clock is changed, delayed."""

    __slots__ = ("_steady",)

    def __init__(self, inner: SteadySchedule, key: str, jitter: timedelta, ends_at: datetime | None) -> None:
        super().__init__(inner, key, jitter, ends_at)
        self._steady = inner

    def count_in(self, since: datetime, until: datetime) -> int | None:
        count = self._steady.count_in(since, until)
        return None if count is None else count + self._is_late(since) - self._is_late(until)

    def _is_late(self, instant: datetime) -> bool:
        """Whether an instant planned up to here is still to come."""
        last = self._last_until(instant)
        return last is not None and self._delayed(last).fires_at > instant


def jittered(schedule: Schedule, *, key: str, jitter: timedelta, ends_at: datetime | None) -> Schedule:
    """Return ``schedule`` with each firing delayed by less than ``jitter``; counted if ``schedule`` is.

    ``key`` names the trigger among all: tenant, job and key of the trigger. Left-out instants stay
    where they are.
    """
    if is_counted(schedule):
        return JitteredCount(schedule, key, jitter, ends_at)
    if is_steady(schedule):
        return JitteredSteady(schedule, key, jitter, ends_at)
    return JitteredSchedule(schedule, key, jitter, ends_at)
