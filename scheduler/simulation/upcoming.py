"""The instants ahead of a job's triggers: no ledger and no policies, only when they fire."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from scheduler.domain.calendar import Calendar
from scheduler.domain.planned import MICROSECOND
from scheduler.domain.schedule import build_schedule
from scheduler.simulation.cursors import instants_of
from scheduler.simulation.instants import DAY, MINUTE, to_us
from schemas.job_spec import JobSpec
from schemas.trigger_spec import TimeTriggerSpec

_FIRST_WIDTH: Final = 60 * MINUTE
_WIDEST: Final = 64 * DAY


@dataclass(frozen=True, slots=True)
class Upcoming:
    """What the jobs of one tenant have ahead of ``now``."""

    tenant: str
    now: datetime
    calendars: Mapping[str, Calendar]
    """Those that calendar triggers name, by name or country."""

    def firings(
        self, name: str, spec: JobSpec, trigger: TimeTriggerSpec, span: timedelta, limit: int, *, anchor: datetime
    ) -> list[int]:
        """Return the instants at which a trigger of job ``name`` fires within ``span`` from now, the first ``limit``.

        ``anchor`` is when the trigger was first applied. What the schedule leaves out is not among
        them; ``max_fires`` counts from now on, so ``limit`` is what is left of it.
        """
        hash_key = f"{self.tenant}/{name}"
        zone = spec.timezone_of(trigger)
        schedule = build_schedule(trigger, timezone=zone, hash_key=hash_key, anchor=anchor, calendars=self.calendars)
        instants = instants_of(trigger, schedule, hash_key)
        limit = limit if trigger.max_fires is None else min(limit, trigger.max_fires)
        found: list[int] = []
        after, until, width = to_us(self.now), to_us(self.now) + span // MICROSECOND, _FIRST_WIDTH
        while after < until and len(found) < limit:
            end = min(after + width, until)
            times, whole_until = instants.between(after, end)
            found += times
            after = end if whole_until == end else whole_until + 1
            width = min(2 * width, _WIDEST)
        return found[: max(0, limit)]
