"""Wall times of a cron expression as instants, by the rule of Debian's cron(8).

"Jobs which would have run in the time that was skipped will be run soon after the change", those
in the repeated time "will not be re-run"; this holds for "jobs that run at a particular time",
the others (CronFields.wild) follow the wall clock; "clock changes of more than 3 hours are
considered to be corrections". Beyond cron(8): equal instants are one firing, and an expression
with seconds follows the rule of its form without.
"""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from scheduler.domain.cron import LAST_YEAR, CronFields
from scheduler.domain.planned import PlannedInstant, to_utc
from scheduler.domain.zones import Change, change_around, offset_of


class CronSchedule:
    """The firings of a cron expression in one time zone."""

    __slots__ = ("_fields", "_tz", "_zone")

    def __init__(self, fields: CronFields, tz: ZoneInfo) -> None:
        self._fields = fields
        self._tz = tz
        self._zone = str(tz)

    def next_after(self, instant: datetime) -> PlannedInstant | None:
        now = to_utc(instant)
        if now.year > LAST_YEAR:
            return None
        local = now.astimezone(self._tz)
        now = now.replace(tzinfo=None)
        wall = local.replace(tzinfo=None, fold=0)
        if local.fold == 0 and offset_of(wall, self._tz) != offset_of(wall.replace(fold=1), self._tz):
            change = change_around(wall, self._tz)
            if change is not None and not self._runs_once(change):
                return self._in_first_pass(wall, now, change)
        return self._from(wall, now, inclusive=False)

    def _runs_once(self, change: Change) -> bool:
        """Whether the change is bridged: nothing is lost in its gap, nothing repeated in its fold."""
        return not self._fields.wild and not change.is_correction

    def _in_first_pass(self, wall: datetime, now: datetime, change: Change) -> PlannedInstant | None:
        """Return the next firing by the wall clock, which will soon be set back."""
        following = self._fields.next_wall(wall)
        if following is not None and following < change.wall_end:
            return self._planned(following, following - change.before)
        repeated = self._fields.next_wall(change.wall_start, inclusive=True)
        if repeated is not None and repeated < change.wall_end:
            return self._planned(repeated, repeated - change.after)
        return self._from(change.wall_end, now, inclusive=True)

    def _from(self, wall: datetime, now: datetime, *, inclusive: bool) -> PlannedInstant | None:
        """Return the first firing later than ``now`` of those planned from ``wall`` on."""
        while (following := self._fields.next_wall(wall, inclusive=inclusive)) is not None:
            offset = offset_of(following, self._tz)
            if offset == offset_of(following.replace(fold=1), self._tz):
                return self._planned(following, following - offset)
            change = change_around(following, self._tz)
            if change is None:  # the offsets differ, so there is one
                return None
            if (fires_at := self._across(following, now, change)) is not None:
                return self._planned(following, fires_at)
            wall, inclusive = change.wall_end, True
        return None

    def _across(self, wall: datetime, now: datetime, change: Change) -> datetime | None:
        """Return the instant for a wall time that a change skips or repeats; None: it has none after ``now``."""
        if change.is_gap:
            return change.at if self._runs_once(change) else None
        first, second = wall - change.before, wall - change.after
        if first > now:
            return first
        return second if not self._runs_once(change) and second > now else None

    def _planned(self, wall: datetime, fires_at: datetime) -> PlannedInstant:
        return PlannedInstant(fires_at.replace(tzinfo=UTC), wall.isoformat(), self._zone)
