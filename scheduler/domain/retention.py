"""How long ended runs are kept: spans by state, classes that they are rounded up to, and when history is worked on."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from schemas.vocabulary import RunState

CLASSES: Final = (7, 30, 90, 365)
"""Days: a run is kept for the shortest of these that is as long as its span."""

LEAST_AUDIT: Final = timedelta(days=30)
"""The database refuses to delete younger entries of the audit log."""


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    spans: Mapping[RunState, timedelta]
    """Of the final states, where a job does not say."""
    ledger: timedelta
    """How long firings and events are kept; firings at least as long as their runs."""
    at_hand: timedelta
    """So long after its end a flow stays in the working tables."""
    at: time
    """When the daily work begins, on the clocks of ``zone``."""
    zone: ZoneInfo
    archive: Path | None = None
    """The folder that runs, firings, events and entries of the audit log are written to before they are gone."""
    compress: bool = True
    audit: timedelta = timedelta(days=365)
    """How long entries of the audit log are kept."""


def class_of(span: timedelta) -> int:
    """Return the class, in days, of runs that are to be kept for ``span``; the longest is the most there is."""
    return next((days for days in CLASSES if span <= timedelta(days=days)), CLASSES[-1])


def next_pass(settings: RetentionSettings, now: datetime) -> datetime:
    """Return the first beginning of the daily work after ``now``.

    On a day whose clocks skip that time it is as much later as they skip; on one that repeats it, the first.
    """
    today = now.astimezone(settings.zone).date()
    begins = (
        datetime.combine(today + timedelta(days=ahead), settings.at, settings.zone).astimezone(now.tzinfo)
        for ahead in range(-1, 3)
    )
    return next(begin for begin in begins if begin > now)
