"""Wall times of a cron expression as instants, by the rule of Debian's cron(8) or as the trigger says.

"Jobs which would have run in the time that was skipped will be run soon after the change", those
in the repeated time "will not be re-run"; this holds for "jobs that run at a particular time",
the others (CronFields.wild) follow the wall clock; "clock changes of more than 3 hours are
considered to be corrections". Beyond cron(8): equal instants are one firing, an expression with
seconds follows the rule of its form without, and DstRules choose otherwise for fixed times.
"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from scheduler.domain.cron import LAST_YEAR, CronFields
from scheduler.domain.dst import CRON_RULES, DstRules, left_out
from scheduler.domain.planned import PlannedInstant, to_utc
from scheduler.domain.zones import CORRECTION, Change, change_around, offset_of, steady_offset
from schemas.vocabulary import FoldRule, GapRule

_NOTHING: Final = timedelta(0)
_SECOND: Final = timedelta(seconds=1)
_LAST_MICROSECOND: Final = 999_999
_WHOLE_MINUTES: Final = 1973
"""From this year on, all zones are whole minutes off UTC, and change at one (Monrovia was the last to)."""


class CronSchedule:
    """The firings of a cron expression in one time zone, and with gap: skip what its gaps leave out."""

    __slots__ = ("_fields", "_rules", "_tz", "_zone")

    def __init__(self, fields: CronFields, tz: ZoneInfo, rules: DstRules = CRON_RULES) -> None:
        self._fields = fields
        self._rules = rules
        self._tz = tz
        self._zone = str(tz)

    def next_after(self, instant: datetime) -> PlannedInstant | None:
        return _find(self, self._asked_from(to_utc(instant)))

    def _asked_from(self, now: datetime) -> datetime:
        """Return the begin of the minute, where all that ask within it get the same answer; else ``now``.

        What a gap leaves out stands a microsecond before it: the next after that is not the next after the begin.
        """
        if self._fields.seconds != (0,) or now.year < _WHOLE_MINUTES or now.microsecond == _LAST_MICROSECOND:
            return now
        return now.replace(second=0, microsecond=0)

    def find(self, now: datetime) -> PlannedInstant | None:
        """Return what next_after does, worked out anew; ``now`` is UTC."""
        if now.year > LAST_YEAR:
            return None
        local = now.astimezone(self._tz)
        now = now.replace(tzinfo=None)
        wall = local.replace(tzinfo=None, fold=0)
        if local.fold == 0 and offset_of(wall, self._tz) != offset_of(wall.replace(fold=1), self._tz):
            change = change_around(wall, self._tz)
            if change is not None and (fold := self._fold(change)) is not FoldRule.FIRST:
                return self._in_first_pass(wall, now, change, fold)
        return self._from(wall, now, inclusive=False)

    def count_in(self, since: datetime, until: datetime) -> int | None:
        """Return how many instants lie in (since, until]; None where a change of the clock plays a part."""
        start = to_utc(since).replace(microsecond=0, tzinfo=None) + _SECOND
        end = to_utc(until).replace(microsecond=0, tzinfo=None) + _SECOND
        if end.year > LAST_YEAR:
            return None
        # Around a fold, a fixed time fires in one of the two passes only.
        margin = _NOTHING if self._fields.wild else CORRECTION
        offset = steady_offset(start - margin, end + margin, self._tz)
        return None if offset is None else self._fields.count_walls(start + offset, end + offset)

    def _is_fixed(self, change: Change) -> bool:
        """Whether the rules hold at the change; else the wall clock alone counts."""
        return not self._fields.wild and not change.is_correction

    def _fold(self, change: Change) -> FoldRule:
        return self._rules.fold if self._is_fixed(change) else FoldRule.BOTH

    def _in_first_pass(self, wall: datetime, now: datetime, change: Change, fold: FoldRule) -> PlannedInstant | None:
        """Return the next firing, where the wall clock will soon be set back and runs a second time count."""
        following = self._fields.next_wall(wall) if fold is FoldRule.BOTH else None
        if following is not None and following < change.wall_end:
            return self._planned(following, following - change.before)
        repeated = self._fields.next_wall(change.wall_start, inclusive=True)
        if repeated is not None and repeated < change.wall_end:
            return self._planned(repeated, repeated - change.after)
        return self._from(change.wall_end, now, inclusive=True)

    def _from(self, wall: datetime, now: datetime, *, inclusive: bool) -> PlannedInstant | None:
        """Return the first instant later than ``now`` of those planned from ``wall`` on."""
        while (following := self._fields.next_wall(wall, inclusive=inclusive)) is not None:
            offset = offset_of(following, self._tz)
            if offset == offset_of(following.replace(fold=1), self._tz):
                return self._planned(following, following - offset)
            change = change_around(following, self._tz)
            if change is None:  # the offsets differ, so there is one
                return None
            planned = self._in_gap(following, change) if change.is_gap else self._in_fold(following, now, change)
            if planned is not None and planned.fires_at.replace(tzinfo=None) > now:
                return planned
            wall, inclusive = change.wall_end, True
        return None

    def _in_gap(self, wall: datetime, change: Change) -> PlannedInstant | None:
        """Return what the first of the skipped wall times comes to, for all of them; None: to nothing."""
        if self._rules.gap is GapRule.SKIP:
            return left_out(change, wall, self._fields.count_walls(change.wall_start, change.wall_end), self._tz)
        return self._planned(wall, change.at) if self._is_fixed(change) else None

    def _in_fold(self, wall: datetime, now: datetime, change: Change) -> PlannedInstant:
        fold, first = self._fold(change), wall - change.before
        once_more = fold is FoldRule.SECOND or (fold is FoldRule.BOTH and first <= now)
        return self._planned(wall, wall - change.after if once_more else first)

    def _planned(self, wall: datetime, fires_at: datetime) -> PlannedInstant:
        return PlannedInstant(fires_at.replace(tzinfo=UTC), wall.isoformat(), self._zone)


@lru_cache(maxsize=16_384)
def _find(schedule: CronSchedule, now: datetime) -> PlannedInstant | None:
    """Remember what was found, by expression, zone and minute: a herd shares them."""
    return schedule.find(now)


@lru_cache(maxsize=8192)
def cron_schedule(fields: CronFields, tz: ZoneInfo, rules: DstRules) -> CronSchedule:
    """Return the schedule, the same one for the same arguments, so that what it remembers is shared."""
    return CronSchedule(fields, tz, rules)
