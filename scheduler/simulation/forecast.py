"""Which firings a change of a job's definition adds and removes: what fires before against what fires after."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

from scheduler.domain.planned import MICROSECOND
from scheduler.simulation.instants import to_instant, to_us
from scheduler.simulation.upcoming import Upcoming
from schemas.job_spec import JobSpec

MOST: Final = 100_000
"""Firings of one trigger that are compared; a job that has more is compared up to where they end."""
_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Side:
    """A job as it fires before, or after: its definition, whether it may start, when its triggers were applied."""

    name: str
    spec: JobSpec
    enabled: bool
    upcoming: Upcoming
    """With the calendars that hold on this side."""
    anchors: Mapping[str, datetime] = field(default_factory=dict)
    """By key of the trigger; one that is not there counts from now."""
    fired: Mapping[str, int] = field(default_factory=dict)
    """By key of the trigger, what counts against max_fires so far."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """The firings that come and go between now and ``until``; the first few of each by their instants."""

    added: int
    removed: int
    first_added: tuple[datetime, ...]
    first_removed: tuple[datetime, ...]
    until: datetime
    trouble: str | None = None
    """Why the firings before are not known: all of those after count as added. None: they are known."""


def forecast(before: Side | None, after: Side | None, now: datetime, span: timedelta) -> Forecast:
    """Compare the firings of a job within ``span`` from ``now``; None: it is not there.

    Equal instants of several triggers count once.
    """
    until = to_us(now) + span // MICROSECOND
    trouble = None
    try:
        old, old_until = _firings(before, span, until)
    except ValueError as error:  # its zone is not on this machine, or its calendar is gone
        old, old_until, trouble = set(), until, str(error)
    new, new_until = _firings(after, span, until)
    until = min(old_until, new_until)
    added = sorted(at for at in new - old if at <= until)
    removed = sorted(at for at in old - new if at <= until)
    return Forecast(
        added=len(added),
        removed=len(removed),
        first_added=tuple(map(to_instant, islice(added, _SHOWN))),
        first_removed=tuple(map(to_instant, islice(removed, _SHOWN))),
        until=to_instant(until),
        trouble=trouble,
    )


def _firings(side: Side | None, span: timedelta, until: int) -> tuple[set[int], int]:
    """Return the instants at which a job fires, and up to when these are all."""
    found: set[int] = set()
    if side is None or not side.enabled:
        return found, until
    for _, trigger in side.spec.time_triggers:
        if trigger.enabled:
            anchor = side.anchors.get(trigger.key, side.upcoming.now)
            most = MOST if trigger.max_fires is None else trigger.max_fires - side.fired.get(trigger.key, 0)
            times = side.upcoming.firings(side.name, side.spec, trigger, span, min(MOST, most), anchor=anchor)
            found.update(times)
            until = min(until, times[-1]) if len(times) == MOST else until
    return found, until
