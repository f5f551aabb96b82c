"""Records the ends of runs that some trigger waits for as events, in the transaction of their DAG step.

A run whose end somebody waits for owes that step, and so the event, until both are done: its row says so
(``has_downstream``, set when its flow is written), and the sweep finds it when the message is lost. Of all
other runs nothing is written, and nobody is asked.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from scheduler.domain.trace import traceparent_of
from scheduler.store.catalogue import Catalogue
from scheduler.store.events import NewEvent, record_events
from scheduler.store.queries import queries
from schemas.vocabulary import EventSource

if TYPE_CHECKING:
    import asyncpg

    from scheduler.store.pool import Connection

Q: Final = queries("ended")
_TOLD: Final = (
    "attempt", "outcome", "reason", "exit_code", "http_status", "exception", "elapsed_s", "result", "params",
)  # fmt: skip
_INSTANTS: Final = ("fired_at", "created_at", "claimed_at", "finished_at")


async def record_ends(
    db: "Connection", catalogue: Catalogue, owed: "Sequence[asyncpg.Record]", new_id: Callable[[], UUID]
) -> list[UUID]:
    """Record the ends among ``owed``, rows of ended runs, that a trigger may match; return the new events."""
    jobs = await catalogue.current(db, {row["tenant"]: row["revision"] for row in owed})
    wanted = [row["id"] for row in owed if jobs[row["tenant"]].watching.wants(row["job_id"], row["state"])]
    if not wanted:
        return []
    events = [_event(row, new_id()) for row in await db.fetch(Q["describe_ends"], wanted)]
    recorded = await record_events(db, events, hinted=True)
    return [one.event_id for one in recorded if not one.duplicate]


async def owe_ends(db: "Connection", job_ids: Iterable[UUID]) -> None:
    """Have runs that are under way owe their ends, of jobs that somebody waits for since."""
    await db.execute(Q["owe_ends"], list(job_ids))


def _event(row: "asyncpg.Record", event_id: UUID) -> NewEvent:
    data: dict[str, Any] = {
        "job": row["job_name"],
        "job_id": str(row["job_id"]),
        "state": row["state"],
        "run_id": str(row["id"]),
        "flow_id": str(row["flow_id"]),
        "retry_of": None if row["retry_of"] is None else str(row["retry_of"]),
        **{name: row[name] for name in _TOLD},
        **{name: _text(row[name]) for name in _INSTANTS},
    }
    given = row["traceparent"]
    trace = None if given is None else traceparent_of(row["flow_id"], row["id"], row["attempt"], given)
    return NewEvent(
        id=event_id,
        tenant=row["tenant"],
        source=EventSource.RUN,
        topic=f"run.{row['state']}.{row['job_name']}",
        data=data,
        key=str(row["id"]),
        subject=str(row["id"]),
        headers=None if trace is None else {"traceparent": trace},
        depth=row["depth"],
        occurred_at=row["finished_at"],
    )


def _text(instant: datetime | None) -> str | None:
    return None if instant is None else instant.isoformat().replace("+00:00", "Z")
