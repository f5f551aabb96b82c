"""Stored events as triggers and templates see them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final
from uuid import UUID

from scheduler.domain.matching import Event
from scheduler.store.queries import queries
from schemas.vocabulary import EventSource

if TYPE_CHECKING:
    import asyncpg

    from scheduler.store.pool import Connection

Q: Final = queries("events")


async def find_events(db: "Connection", run_ids: Sequence[UUID]) -> dict[UUID, Event]:
    """Return, by run, what has started its flow: of runs in whose flow there is an event."""
    if not run_ids:
        return {}
    rows = await db.fetch(Q["find_events_of_runs"], list(run_ids))
    return {row["run_id"]: event_of(row) for row in rows}


def event_of(row: "asyncpg.Record") -> Event:
    """Return a row of ``events`` as triggers and templates see it."""
    return Event(
        id=row["id"],
        source=EventSource(row["source"]),
        topic=row["topic"],
        data=row["data"],
        received_at=row["received_at"],
        subject=row["subject"],
        headers=row["headers"],
        occurred_at=row["occurred_at"],
        for_triggers=row["for_triggers"],
        depth=row["depth"],
    )
