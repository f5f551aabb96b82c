"""What applying definitions would change, as ``plan`` says it: jobs, keys that differ, firings that come and go."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from scheduler.definitions.differences import differences
from scheduler.definitions.model import Definitions
from scheduler.definitions.problems import warning_of
from scheduler.domain.calendar import Calendar
from scheduler.simulation.forecast import Forecast, Side, forecast
from scheduler.simulation.upcoming import Upcoming
from scheduler.store.calendar_rows import CalendarChange
from scheduler.store.definitions import ApplyResult
from scheduler.store.rehearsal import Standing

Change = dict[str, Any]
"""What becomes of one job."""


@dataclass(frozen=True, slots=True)
class Stood:
    """What was there before, and when that was."""

    jobs: Mapping[str, Standing]
    calendars: Mapping[str, Calendar]
    now: datetime


def planned_changes(definitions: Definitions, result: ApplyResult, stood: Stood, span: timedelta) -> list[Change]:
    """Return what becomes of each job that ``result``, of a rehearsal, would change, and of its firings in ``span``.

    Blocking: thousands of jobs take seconds.
    """
    old = Upcoming(definitions.tenant, stood.now, stood.calendars)
    new = Upcoming(definitions.tenant, stood.now, definitions.resolved_calendars)
    found = []
    for change, names in (("create", result.created), ("change", result.changed), ("remove", result.removed)):
        for name in names:
            job, spec = stood.jobs.get(name), None if change == "remove" else definitions.jobs[name]
            anchors, fired = (job.anchors, job.fired) if job else ({}, {})
            before = Side(name, job.spec, job.enabled, old, anchors, fired) if job and job.spec else None
            after = Side(name, spec, _enabled(job, spec.enabled), new, anchors, fired) if spec else None
            changed = differences(job.spec, spec) if job and job.spec and spec else []
            found.append(
                {
                    "name": name,
                    "change": change,
                    "paused": job.paused if job else False,
                    "differences": [asdict(difference) for difference in changed],
                    "firings": _shown(forecast(before, after, stood.now, span), job.trouble if job else None),
                }
            )
    return found


def other_changes(result: ApplyResult) -> dict[str, list[Any]]:
    """Return what would change beside jobs."""
    calendars: list[Any] = [calendar_change_row(change) for change in result.calendars]
    webhooks = {"webhooks": result.webhooks.changed, "removed_webhooks": result.webhooks.removed}
    return {"pools": result.pools, "calendars": calendars, "removed_calendars": result.removed_calendars} | webhooks


def warn_of_impossible(definitions: Definitions, found: Mapping[str, str]) -> Definitions:
    """Return ``definitions`` with a warning for each of the jobs ``found`` that no live executor could run, and why."""
    said = [warning_of(f"jobs.{name}", f"{why}: its runs would wait") for name, why in found.items()]
    return replace(definitions, warnings=(*definitions.warnings, *said))


def calendar_change_row(change: CalendarChange) -> dict[str, Any]:
    """Return the new version of a calendar, and which firings of the next 90 days that moves."""
    moves = [
        {"job": m.job, "trigger": m.trigger, "removed": list(m.removed), "added": list(m.added)} for m in change.moves
    ]
    return {"name": change.name, "version": change.version, "moves": moves}


def _enabled(stood: Standing | None, wanted: bool) -> bool:  # noqa: FBT001 - a value, not a switch
    """Return whether the job may start afterwards: what people switched stays, unless the file says another thing."""
    if stood is None or stood.spec is None or stood.spec.enabled != wanted:
        return wanted
    return stood.enabled


def _shown(found: Forecast, unread: str | None) -> dict[str, Any]:
    """Return the firings; ``unread`` is why the definition before cannot be read."""
    return {
        "added": found.added,
        "first_added": found.first_added,
        "removed": found.removed,
        "first_removed": found.first_removed,
        "until": found.until,
        "trouble": unread or found.trouble,
    }
