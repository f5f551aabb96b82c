"""What happens to the scheduler itself, told as events: each once, however many Dispatchers see it.

Who starts first and who stops last is seen in ``dispatchers``. What lasts (a lost executor, a long backlog)
is a row of ``conditions`` as long as it is so: whoever writes the row tells of it, in the same transaction.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from scheduler.domain.matching import EventTriggers, Waiting
from scheduler.domain.watching import name_matches
from scheduler.store.events import NewEvent, record_events
from scheduler.store.pool import json_text
from scheduler.store.queries import columns, queries
from schemas.happening_trigger import SystemEvent, SystemSpec
from schemas.vocabulary import EventSource

if TYPE_CHECKING:
    from scheduler.store.pool import Connection

Q: Final = queries("happenings")
SILENT_S: Final = 6.0
"""After so long without a word a Dispatcher is not alive."""
Facts = Mapping[str, dict[str, Any]]
"""By subject, what is told of it."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A trigger, or a part of one, that waits for something of the scheduler."""

    tenant: str
    trigger: Waiting
    spec: SystemSpec

    @property
    def wanted(self) -> dict[str, Any]:
        """What the event says that it is for."""
        return words_of(self.spec)


@dataclass(frozen=True, slots=True)
class Seen:
    """What is as a listener waits for it to be. ``judged``: nothing is known of other subjects; None: all is."""

    listener: Listener
    facts: Facts = field(default_factory=dict)
    judged: Sequence[str] | None = None


def words_of(spec: SystemSpec) -> dict[str, Any]:
    """Return what a trigger waits for, as the event of it says."""
    return spec.model_dump(mode="json", exclude_defaults=True)


def listeners_of(triggers: Mapping[str, EventTriggers]) -> list[Listener]:
    """Return who waits for something of the scheduler, in the tenants of ``triggers``."""
    return [
        Listener(tenant, waiting, part.system)
        for tenant, found in triggers.items()
        for waiting, part in found.of_system
    ]


async def beat(db: "Connection", dispatcher: UUID) -> None:
    """Say that a Dispatcher is alive."""
    await db.execute(Q["beat"], dispatcher)
    await db.execute(Q["forget_dispatchers"])


async def was_first(db: "Connection", dispatcher: UUID) -> bool | None:
    """Return whether no other Dispatcher was alive when this one came; None: that is not known yet."""
    row = await db.fetchrow(Q["find_before"], dispatcher, SILENT_S)
    if row is None or row["certainly"]:
        return False
    return None if row["perhaps"] else True


async def leave(db: "Connection", dispatcher: UUID) -> bool:
    """Say that a Dispatcher goes in order; return whether it was the last one."""
    others: int = await db.fetchval(Q["leave"], dispatcher, SILENT_S)
    return others == 0


async def tell(
    db: "Connection", on: SystemEvent, key: str, listeners: Iterable[Listener], new_id: Callable[[], UUID]
) -> list[UUID]:
    """Record that something has happened, once for each tenant that waits for it; return the events."""
    waiting = {one.tenant: one.wanted for one in listeners if one.spec.on is on}
    events = [
        NewEvent(
            id=new_id(),
            tenant=tenant,
            source=EventSource.SYSTEM,
            topic=f"system.{on}",
            data={"on": on.value, "wanted": wanted},
            key=f"{on}:{key}",
        )
        for tenant, wanted in waiting.items()
    ]
    return await _record(db, events)


async def note(db: "Connection", seen: Sequence[Seen], new_id: Callable[[], UUID]) -> list[UUID]:
    """Write what is so now, and record what is so since now; return the events."""
    rows: dict[tuple[UUID, str, str], tuple[Listener, dict[str, Any]]] = {}
    for one in seen:
        wanted = json_text(one.listener.wanted) or ""
        await db.execute(Q["end_conditions"], one.listener.trigger.id, wanted, list(one.facts), one.judged)
        for subject, facts in one.facts.items():
            rows[one.listener.trigger.id, wanted, subject] = one.listener, facts
    if not rows:
        return []
    given = [(rows[key][0].tenant, *key) for key in rows]
    begun = {(row["trigger_id"], row["subject"]) for row in await db.fetch(Q["begin_conditions"], *columns(given))}
    events = [
        NewEvent(
            id=new_id(),
            tenant=listener.tenant,
            source=EventSource.SYSTEM,
            topic=f"system.{listener.spec.on}",
            data={"on": listener.spec.on.value, "wanted": listener.wanted, **facts},
            subject=subject,
            for_triggers=[trigger_id],
        )
        for (trigger_id, _, subject), (listener, facts) in rows.items()
        if (trigger_id, subject) in begun
    ]
    return await _record(db, events)


async def see(db: "Connection", listener: Listener, lease_s: float) -> Seen | None:
    """Return what the rows say of what ``listener`` waits for; None: they say nothing of such things."""
    spec = listener.spec
    match spec.on:
        case SystemEvent.EXECUTOR_LOST:
            lost = await db.fetch(Q["find_lost"], lease_s)
            names = ("name", "pool", "host", "pid")
            return Seen(listener, {
                str(row["boot_id"]): {name: row[name] for name in names} | {"seen_at": row["seen_at"].isoformat()}
                for row in lost if name_matches(spec.pool, row["pool"])
            })  # fmt: skip
        case SystemEvent.BACKLOG_HIGH:
            pools = await db.fetch(Q["count_ready"], listener.tenant, spec.above)
            return Seen(listener, {
                row["pool"]: {"pool": row["pool"], "above": spec.above}
                for row in pools if row["runs"] > spec.above and name_matches(spec.pool, row["pool"])
            })  # fmt: skip
        case SystemEvent.RUN_LONG if spec.after is not None:
            long = await db.fetch(Q["find_long"], listener.tenant, spec.after.total_seconds())
            return Seen(listener, {
                f"{row['id']}/{row['attempt']}": {
                    "job": row["job_name"], "run_id": str(row["id"]), "attempt": row["attempt"],
                    "executor": row["executor"], "since": row["claimed_at"].isoformat(),
                }
                for row in long
                if row["job_id"] != listener.trigger.job_id and name_matches(spec.job, row["job_name"])
            })  # fmt: skip
        case _:
            return None


async def _record(db: "Connection", events: Sequence[NewEvent]) -> list[UUID]:
    recorded = await record_events(db, events, hinted=True) if events else []
    return [one.event_id for one in recorded if not one.duplicate]
