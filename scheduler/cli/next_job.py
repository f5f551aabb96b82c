"""What ``scheduler next --job`` reads of a stored job: its schedules, and which of its triggers it cannot read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scheduler.store.calendars import load_calendars
from scheduler.store.reading import get_job
from scheduler.store.unreadable import describe

if TYPE_CHECKING:
    from scheduler.config import Settings
    from scheduler.domain.merged import Limited
    from scheduler.store.stores import Store


@dataclass(frozen=True, slots=True)
class JobTimes:
    """The triggers of a job: those that can be read, what ends them, and why others cannot be read."""

    sources: Sequence["Limited"]
    ends: Sequence[str]
    troubles: Sequence[str]


async def read_job_times(store: "Store", settings: "Settings", name: str) -> JobTimes:
    """Return when the enabled triggers of a job fire.

    Raises:
        NotFoundError: there is no such job.
    """
    from pydantic import TypeAdapter

    from scheduler.domain.clock_notes import ends_of
    from scheduler.domain.merged import Limited
    from scheduler.domain.schedule import build_schedule
    from schemas.trigger_spec import TriggerSpec

    adapter: TypeAdapter[TriggerSpec] = TypeAdapter(TriggerSpec)
    found = await get_job(store, settings.tenant, name)
    calendars = await load_calendars(store, settings.tenant)
    sources: list[Limited] = []
    ends: list[str] = []
    troubles: list[str] = []
    for row in found["triggers"]:
        if not row["enabled"]:
            continue
        try:
            trigger = adapter.validate_python(row["spec"], extra="ignore")
            schedule = build_schedule(
                trigger,
                timezone=trigger.timezone or found["spec"].get("timezone", "UTC"),
                hash_key=f"{settings.tenant}/{name}",
                anchor=row["anchor_at"],
                calendars=calendars,
            )
        except ValueError as error:  # stored by a newer program, or its zone is not on this machine
            troubles.append(f"trigger {row['key']} cannot be read: {describe(error)}")
            continue
        sources.append(Limited(schedule, None if trigger.max_fires is None else trigger.max_fires - row["fired"]))
        ends += ends_of(trigger, calendars)
    return JobTimes(sources, ends, troubles)
