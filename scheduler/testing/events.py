"""Events of a TestScheduler: the triggers that wait for them, and what the ledger says of what they fire."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from uuid import UUID

from scheduler.domain.gates import JobEntry
from scheduler.domain.matching import Match, Waiting
from scheduler.simulation.ledger import LedgerRow
from scheduler.simulation.simulated_run import Fired
from schemas.event_trigger import EventTriggerModel
from schemas.happening_trigger import AllOfTrigger, AnyOfTrigger
from schemas.vocabulary import Verdict


def event_triggers(jobs: Iterable[JobEntry]) -> Iterator[Waiting]:
    """Yield the triggers that each single event may fire; those that gather events are not simulated."""
    number = 0
    for job in jobs:
        for trigger in job.spec.triggers:
            if isinstance(trigger, EventTriggerModel) and trigger.enabled and not _gathers(trigger):
                number += 1
                yield Waiting(UUID(int=number), job.id, job.version, trigger.key, trigger, job)


def _gathers(trigger: EventTriggerModel) -> bool:
    composite = isinstance(trigger, AllOfTrigger | AnyOfTrigger)
    return composite or any((trigger.debounce, trigger.throttle, trigger.collect))


def event_row(match: Match, fired: Fired | None, at: datetime) -> LedgerRow:
    """Return the row of a trigger that an event has fired; ``fired`` None: no run can be made of it."""
    verdict = Verdict.INVALID if fired is None else fired.decision.verdict
    run, blocking = (None, None) if fired is None else (fired.run, fired.blocking)
    return LedgerRow(
        fires_at=at,
        to_at=None,
        count=1,
        job=match.trigger.job.name if match.trigger.job else "",
        trigger=match.trigger.key,
        wall_time=f"{at:%Y-%m-%dT%H:%M:%S}",
        zone="UTC",
        verdict=verdict,
        reason=match.problem if fired is None else fired.reason,
        planned_at=at,
        run=None if run is None else run.name,
        blocking_run=None if blocking is None else blocking.name,
    )
