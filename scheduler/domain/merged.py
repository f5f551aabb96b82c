"""The firings of several triggers together, in order, as ``scheduler next`` shows them."""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from scheduler.domain.planned import PlannedInstant, Schedule

_MOST_SKIPPED: Final = 1000
"""So many left-out instants in a row are taken for the rule: three years of closed days."""


@dataclass(frozen=True, slots=True)
class Limited:
    """A schedule, and how many fires are left to it of max_fires (None: no limit)."""

    schedule: Schedule
    left: int | None = None


@dataclass(frozen=True, slots=True)
class Merged:
    """What fires, equal instants once, and what the schedules leave out up to the last of them."""

    fires: Sequence[PlannedInstant]
    left_out: Sequence[PlannedInstant]
    is_all: bool
    """There are no more firings than these."""


def merge(sources: Iterable[Limited], since: datetime, now: datetime, count: int) -> Merged:
    """Return the first ``count`` firings after ``since``; what is left of max_fires is spent from ``now`` on."""
    fires: list[PlannedInstant] = []
    left_out: list[PlannedInstant] = []
    pending: list[PlannedInstant] = []
    instants = [_instants(source, since, now) for source in sources]
    for at in heapq.merge(*instants, key=lambda at: at.fires_at):
        if at.skipped is not None:
            pending.append(at)
        elif not fires or fires[-1].fires_at < at.fires_at:
            if len(fires) == count:
                return Merged(fires, left_out, is_all=False)
            fires.append(at)
            left_out += pending
            pending.clear()
    return Merged(fires, left_out + pending, is_all=True)


def _instants(source: Limited, since: datetime, now: datetime) -> Iterator[PlannedInstant]:
    """Yield what is planned after ``since``, as long as a firing is left."""
    left, skipped = source.left, 0
    at = source.schedule.next_after(since if left is None else min(since, now))
    while at is not None and skipped < _MOST_SKIPPED:
        skipped = 0 if at.skipped is None else skipped + 1
        if left is not None and at.skipped is None and at.fires_at > now:
            if left <= 0:
                return
            left -= 1
        if at.fires_at > since:
            yield at
        at = source.schedule.next_after(at.fires_at)
