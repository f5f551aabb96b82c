"""What is due of a schedule that cannot be counted, made countable: walked where it must be, counted elsewhere.

A schedule that knows how many instants lie between two others where the clocks are steady (SteadySchedule)
is never walked through an outage: days are counted as a whole, only the minutes around a change of the
clock are visited.
"""

import sys
from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from scheduler.domain.planned import PlannedInstant, Schedule, SteadySchedule, is_steady

_AT_FIRST: Final = 32
"""Instants that are simply visited: more than a tick in time ever finds."""
_SPARSE: Final = timedelta(days=32)
"""What fires less than daily is walked: its instants cost less than the days between them."""
_STEPS: Final = (timedelta(days=1), timedelta(hours=1), timedelta(minutes=5))
"""Lengths of pieces, each tried where the longer one cannot be counted; the shortest is then walked."""
_MOST_PIECES: Final = 10_000
"""Twenty-seven years of days in one call."""
_SECOND: Final = timedelta(seconds=1)


class _Piece(NamedTuple):
    """The instants in (start, end]: those before it, and itself as a list or as a number."""

    start: datetime
    end: datetime
    before: int
    size: int
    items: Sequence[PlannedInstant] | None


class DueInstants:
    """The instants of a schedule in (since, until], counted from 0.

    ``until`` is the ``now`` asked for, or earlier: then ``cut`` is set, and more may be due behind it;
    if it is not set, ``after`` is the first instant later than ``now``.
    """

    __slots__ = ("_pieces", "_schedule", "after", "cut")

    def __init__(self, schedule: Schedule, since: datetime, now: datetime, limit: int) -> None:
        """``limit``: how many firings are walked at most; those that are counted cost nothing."""
        self._schedule = schedule
        self._pieces: list[_Piece] = []
        self.cut = False
        self.after: PlannedInstant | None = None
        steady = is_steady(schedule)
        walked = self._walk(since, now, min(limit, _AT_FIRST) if steady else limit)
        if self.cut and steady and self._pieces[-1].end - since > _SPARSE:
            walked += self._walk(self._pieces[-1].end, now, limit - walked)
        elif is_steady(schedule):
            while self.cut and (len(self) < limit or (walked < limit and len(self._pieces) < _MOST_PIECES)):
                walked += self._append(schedule, self._pieces[-1].end, now)
                self.cut = self._pieces[-1].end < now
            self.after = schedule.next_after(now) if len(self._pieces) > 1 else self.after

    def __len__(self) -> int:
        last = self._pieces[-1] if self._pieces else None
        return 0 if last is None else last.before + last.size

    def next_after(self, instant: datetime) -> PlannedInstant | None:
        return self._schedule.next_after(instant)

    def index_after(self, instant: datetime) -> int:
        at = bisect_right(self._pieces, instant, key=lambda piece: piece.end)
        if at == len(self._pieces):
            return len(self)
        piece = self._pieces[at]
        if instant <= piece.start:
            return piece.before
        if piece.items is not None:
            return piece.before + bisect_right(piece.items, instant, key=lambda item: item.fires_at)
        return piece.before + self._count(piece.start, instant)

    def nth(self, index: int) -> PlannedInstant | None:
        if index >= len(self):
            return None
        piece = self._pieces[bisect_right(self._pieces, index, key=lambda piece: piece.before + piece.size)]
        wanted = index - piece.before
        if piece.items is not None:
            return piece.items[wanted]
        low, high = 0, (piece.end - piece.start) // _SECOND + 1
        while high - low > 1:  # the last whole second up to which no more than those before it lie
            middle = (low + high) // 2
            if self._count(piece.start, piece.start + middle * _SECOND) <= wanted:
                low = middle
            else:
                high = middle
        start = piece.start + low * _SECOND
        at = self._schedule.next_after(start)
        for _ in range(wanted - self._count(piece.start, start)):
            at = at and self._schedule.next_after(at.fires_at)
        return at

    def skips(self, begin: int, end: int) -> Sequence[int]:
        if end - begin == 1 and (at := self.nth(begin)) is not None and at.skipped is None:
            return ()  # a tick in time
        return [
            index
            for piece in self._pieces
            if piece.items is not None and piece.before < end and piece.before + piece.size > begin
            for index, item in enumerate(piece.items, piece.before)
            if item.skipped is not None and begin <= index < end
        ]

    def _walk(self, since: datetime, until: datetime, limit: int) -> int:
        """Add what is visited of (since, until], until ``limit`` firings are found; return how many were."""
        items: list[PlannedInstant] = []
        fires = 0
        at = self._schedule.next_after(since)
        while at is not None and at.fires_at <= until and fires < limit:
            items.append(at)
            fires += at.skipped is None
            at = self._schedule.next_after(at.fires_at)
        self.after = at
        self.cut = at is not None and at.fires_at <= until
        end = items[-1].fires_at if self.cut else until
        if end > since:
            self._pieces.append(_Piece(since, end, len(self), len(items), items))
        return fires

    def _append(self, schedule: SteadySchedule, start: datetime, now: datetime) -> int:
        """Add the longest piece from ``start`` on that can be counted, else a short one; return what was walked."""
        for step in _STEPS:
            end = min(start + step, now)
            count = schedule.count_in(start, end)
            if count is not None:
                self._pieces.append(_Piece(start, end, len(self), count, None))
                return 0
        return self._walk(start, min(start + _STEPS[-1], now), sys.maxsize)

    def _count(self, since: datetime, until: datetime) -> int:
        """Count within a piece that could be counted."""
        count = self._schedule.count_in(since, until) if is_steady(self._schedule) else None
        if count is None:
            raise ValueError(f"no steady clock between {since} and {until}")
        return count
