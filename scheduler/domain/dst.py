"""What becomes of one wall time that a change of the clock skips or repeats."""

from datetime import UTC, datetime
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from scheduler.domain.planned import MICROSECOND, PlannedInstant
from scheduler.domain.zones import Change, change_around, offset_of
from schemas.trigger_model import DstSpec
from schemas.vocabulary import FoldRule, GapRule, Verdict


class DstRules(NamedTuple):
    """The rules that hold; by default those of Debian's cron(8) for fixed times."""

    gap: GapRule = GapRule.RUN_AFTER
    fold: FoldRule = FoldRule.FIRST


CRON_RULES: Final = DstRules()


def rules_of(spec: DstSpec | None) -> DstRules:
    """Return what a trigger says, and cron(8)'s rule where it says nothing."""
    if spec is None:
        return CRON_RULES
    return DstRules(spec.gap or CRON_RULES.gap, spec.fold or CRON_RULES.fold)


def left_out(change: Change, first: datetime, times: int, tz: ZoneInfo) -> PlannedInstant:
    """Return the row for the ``times`` wall times, ``first`` the earliest, that a gap skips.

    It stands right before the change, where no firing can be: schedules fire at whole milliseconds.
    """
    at = (change.at - MICROSECOND).replace(tzinfo=UTC)
    return PlannedInstant(at, first.isoformat(), str(tz), Verdict.DST_GAP, times)


def plan_wall(wall: datetime, tz: ZoneInfo, rules: DstRules) -> tuple[PlannedInstant, ...]:
    """Return what a single naive wall time comes to, ascending.

    One firing; two where it is repeated and both are wanted; a skipped row where it falls into a gap
    and ``gap`` is skip. Changes of any size count, since the wall time was asked for by itself.
    """
    wall = wall.replace(fold=0)
    change = change_around(wall, tz)
    if change is None:
        return (_fires(wall, wall - offset_of(wall, tz), tz),)
    if change.is_gap:
        skipped = rules.gap is GapRule.SKIP
        return (left_out(change, wall, 1, tz) if skipped else _fires(wall, change.at, tz),)
    passes = {
        FoldRule.FIRST: (change.before,),
        FoldRule.SECOND: (change.after,),
        FoldRule.BOTH: (change.before, change.after),
    }
    return tuple(_fires(wall, wall - offset, tz) for offset in passes[rules.fold])


def _fires(wall: datetime, at: datetime, tz: ZoneInfo) -> PlannedInstant:
    return PlannedInstant(at.replace(tzinfo=UTC), wall.isoformat(), str(tz))
