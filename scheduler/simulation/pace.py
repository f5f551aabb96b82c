"""When missed firings are let go after an outage: so many a minute over all lanes, the most urgent first.

Which firings are missed follows from the schedules alone, so it is known before anything runs. The
budget is that of scheduler/store/pacing.py: what was not spent in the minute before is at hand.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from scheduler.domain.firing import plan
from scheduler.domain.planned import MICROSECOND
from scheduler.simulation.assumptions import Assumptions
from scheduler.simulation.cursors import Cursor
from scheduler.simulation.instants import MINUTE, to_instant

_LONG_AGO: Final = -(10**18)


class Pace:
    """When each missed firing may start, from the triggers as they are when the time looked at begins."""

    def __init__(self, cursors: Sequence[Cursor], assumptions: Assumptions) -> None:
        self._held: dict[tuple[str, str, datetime], int] = {}
        paced_until = _LONG_AGO
        for begin, end in assumptions.stretches():
            missed = sorted(
                (cursor.job.spec.priority.rank, fires_at, cursor.job.name, cursor.key)
                for cursor in cursors
                for fires_at in _missed(cursor, to_instant(begin), to_instant(end))
            )
            start = max(paced_until, end - MINUTE)
            for number, (_, fires_at, job, key) in enumerate(missed, 1):
                self._held[job, key, fires_at] = max(end, start + number * MINUTE // assumptions.per_minute)
            paced_until = start + len(missed) * MINUTE // assumptions.per_minute

    def release_at(self, cursor: Cursor, fires_at: datetime, now: int) -> int:
        """Return when a firing found at ``now`` is let go."""
        return max(now, self._held.get((cursor.job.name, cursor.key, fires_at), now))


def _missed(cursor: Cursor, begin: datetime, end: datetime) -> Iterator[datetime]:
    """Yield what would start, found at ``end`` of an outage, and is held by pacing."""
    since, more = max(cursor.last_at, begin - MICROSECOND), True
    while more and since < end:
        planned = plan(cursor.schedule, since=since, now=end, rules=cursor.rules)
        held = planned.paced(end, cursor.rules)
        yield from (firing.fires_at for firing, paced in zip(planned.rows, held, strict=True) if paced)
        since, more = planned.planned_until, planned.more
