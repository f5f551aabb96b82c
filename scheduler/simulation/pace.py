"""When missed firings are let go after an outage: so many a minute over all lanes, the most urgent first.

Which firings are missed follows from the schedules alone, so it is known before anything runs. The
budget is that of scheduler/store/pacing.py: what was not spent in the minute before is at hand.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from scheduler.domain.firing import CatchUpRules, Plan, plan
from scheduler.domain.planned import MICROSECOND
from scheduler.simulation.assumptions import Assumptions
from scheduler.simulation.cursors import Cursor
from scheduler.simulation.instants import MINUTE, to_instant

_LONG_AGO: Final = -(10**18)


class Pace:
    """When each missed firing may start, from the triggers as they are when the time looked at begins."""

    def __init__(self, cursors: Sequence[Cursor], assumptions: Assumptions) -> None:
        self._held: dict[tuple[str, str, datetime], int] = {}
        triggers = [_Trigger(cursor) for cursor in cursors]
        paced_until = _LONG_AGO
        for begin, end in assumptions.stretches():
            missed = sorted(
                (trigger.cursor.job.spec.priority.rank, fires_at, trigger.cursor.job.name, trigger.cursor.key)
                for trigger in triggers
                for fires_at in trigger.missed(to_instant(begin), to_instant(end))
            )
            start = max(paced_until, end - MINUTE)
            for number, (_, fires_at, job, key) in enumerate(missed, 1):
                self._held[job, key, fires_at] = max(end, start + number * MINUTE // assumptions.per_minute)
            paced_until = start + len(missed) * MINUTE // assumptions.per_minute

    def release_at(self, cursor: Cursor, fires_at: datetime, now: int) -> int:
        """Return when a firing found at ``now`` is let go."""
        return max(now, self._held.get((cursor.job.name, cursor.key, fires_at), now))


class _Trigger:
    """A trigger on its way through the outages, and what is left to it of max_fires."""

    def __init__(self, cursor: Cursor) -> None:
        self.cursor = cursor
        self._since = cursor.last_at
        self._left = cursor.remaining

    def missed(self, begin: datetime, end: datetime) -> Iterator[datetime]:
        """Yield what would start, found at ``end`` of an outage, and is held by pacing."""
        rules, before = self.cursor.rules, begin - MICROSECOND
        if self._left is not None and before > self._since:  # nothing is late before the outage
            whole = timedelta(seconds=(before - self._since) // timedelta(seconds=1) + 1)
            for _ in self._plan(before, replace(rules, window=whole, punctual=whole)):
                pass
        self._since = max(self._since, before)
        for planned in self._plan(end, rules):
            held = planned.paced(end, rules)
            yield from (firing.fires_at for firing, paced in zip(planned.rows, held, strict=True) if paced)

    def _plan(self, now: datetime, rules: CatchUpRules) -> Iterator[Plan]:
        more = True
        while more and self._since < now:
            planned = plan(self.cursor.schedule, since=self._since, now=now, rules=rules, remaining=self._left)
            self._left = None if self._left is None else self._left - planned.used
            self._since, more = planned.planned_until, planned.more
            yield planned
