"""When a stored job fires: its schedules, and which of its triggers it cannot read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import TypeAdapter

from scheduler.domain.clock_notes import ends_of
from scheduler.domain.event_words import say_wait
from scheduler.domain.merged import Limited
from scheduler.domain.schedule import build_schedule
from scheduler.store.calendars import load_calendars
from scheduler.store.reading import get_job
from scheduler.store.stores import Store
from scheduler.store.unreadable import describe
from schemas.trigger_model import TimeTriggerModel
from schemas.trigger_spec import TriggerSpec

_TRIGGER: Final[TypeAdapter[TriggerSpec]] = TypeAdapter(TriggerSpec)


@dataclass(frozen=True, slots=True)
class JobTimes:
    """The triggers of a job: those that can be read, what ends them, and why others cannot be read."""

    sources: Sequence[Limited]
    ends: Sequence[str]
    troubles: Sequence[str]
    waits_for: Sequence[str] = ()
    """What its other triggers wait for."""


async def read_job_times(store: Store, tenant: str, name: str) -> JobTimes:
    """Return when the enabled triggers of a job fire.

    Raises:
        NotFoundError: there is no such job.
    """
    found = await get_job(store, tenant, name)
    calendars = await load_calendars(store, tenant)
    sources: list[Limited] = []
    ends: list[str] = []
    troubles: list[str] = []
    waits: list[str] = []
    for row in found["triggers"]:
        if not row["enabled"]:
            continue
        try:
            trigger = _TRIGGER.validate_python(row["spec"], extra="ignore")
            if not isinstance(trigger, TimeTriggerModel):
                waits.append(say_wait(trigger))
                continue
            schedule = build_schedule(
                trigger,
                timezone=trigger.timezone or found["spec"].get("timezone", "UTC"),
                hash_key=f"{tenant}/{name}",
                anchor=row["anchor_at"],
                calendars=calendars,
            )
        except ValueError as error:  # stored by a newer program, or its zone is not on this machine
            troubles.append(f"trigger {row['key']} cannot be read: {describe(error)}")
            continue
        sources.append(Limited(schedule, None if trigger.max_fires is None else trigger.max_fires - row["fired"]))
        ends += ends_of(trigger, calendars)
    return JobTimes(sources, ends, troubles, waits)
