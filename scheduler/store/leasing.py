"""Heartbeats and leases. Leases are judged by the database clock only.

A lease may end only when every live Recorder has read the heartbeats past the moment in
question: a Recorder reports how far it has read, ``None`` while its link to the broker is not
steady, and the least of these reports bounds what may expire. One that stopped counts as long as
one that was killed: heartbeats it was handed and did not read come to another late.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

from scheduler.store.doorbell import WORK
from scheduler.store.pool import json_text
from scheduler.store.queries import queries
from scheduler.store.stores import Store
from schemas.facts import ExecutorHeartbeat
from schemas.labels import label_texts
from schemas.message import AttemptKey

if TYPE_CHECKING:
    import asyncpg

Q: Final = queries("leases")
_RING: Final = queries("triggers")["ring"]


@dataclass(frozen=True, slots=True)
class Held:
    """What the rows say of one executor, and of the attempts named in one heartbeat."""

    hold: str | None
    """Why it is to take nothing new; None: it may."""
    cancels: tuple[AttemptKey, ...]
    kills: tuple[AttemptKey, ...]
    lost: tuple[AttemptKey, ...]


async def record_heartbeats(store: Store, beats: Sequence[ExecutorHeartbeat], lease_s: float) -> list[Held]:
    """Extend the leases of the attempts named for this store, note the executors; one answer for each of ``beats``.

    An executor with very many attempts names them in several heartbeats: all count, and the last
    one tells how the executor is.
    """
    newest = {beat.boot_id: beat for beat in sorted(beats, key=lambda beat: (beat.stopped, beat.seq))}
    keys = sorted(
        {key for beat in beats if beat.store == store.suffix for key in beat.attempts}, key=lambda key: key.run_id
    )
    async with store.transaction() as db:
        arrived = await db.fetch(
            Q["record_executors"], *_executor_columns(sorted(newest.values(), key=lambda beat: beat.boot_id))
        )
        rows = []
        if keys:
            columns = ([key.run_id for key in keys], [key.attempt for key in keys], [key.lease_token for key in keys])
            rows = await db.fetch(Q["extend_leases"], *columns, lease_s)
        if any(row["arrived"] for row in arrived):
            await db.execute(_RING, WORK, "")
    extended = {(row["id"], row["attempt"], row["lease_token"]): row for row in rows}
    holds = {row["boot_id"]: row["held"] for row in arrived}
    return [_held(beat, extended, holds.get(beat.boot_id)) for beat in beats]


def _held(beat: ExecutorHeartbeat, extended: dict[tuple[UUID, int, UUID], "asyncpg.Record"], hold: str | None) -> Held:
    rows = [(key, extended.get((key.run_id, key.attempt, key.lease_token))) for key in beat.attempts]
    return Held(
        hold=hold,
        cancels=tuple(key for key, row in rows if row is not None and row["cancelled"]),
        kills=tuple(key for key, row in rows if row is not None and row["cancel_at_once"]),
        lost=tuple(key for key, row in rows if row is None),
    )


async def report_recorder(store: Store, recorder_id: UUID, read_through: datetime | None) -> datetime:
    """Say how far this Recorder has read; return the database's now, to be sent as the next barrier."""
    async with store.connection() as db:
        await db.execute(Q["report_recorder"], recorder_id, read_through)
        now: datetime = await db.fetchval(Q["database_now"])
    return now


async def leave_recorders(store: Store, recorder_id: UUID) -> None:
    """Say that this Recorder went in order; forget everything that has been silent for a day."""
    async with store.connection() as db:
        await db.execute(Q["leave_recorders"], recorder_id)
        await db.execute(Q["forget_recorders"])
        await db.execute(Q["forget_executors"])


async def find_expired(store: Store, limit: int, recorder_alive_s: float) -> Sequence[UUID]:
    """Return runs whose lease ended before the moment every live Recorder has read past."""
    async with store.connection() as db:
        return [row["id"] for row in await db.fetch(Q["find_expired"], limit, recorder_alive_s)]


def _executor_columns(beats: Sequence[ExecutorHeartbeat]) -> tuple[list[object], ...]:
    return (
        [beat.boot_id for beat in beats],
        [beat.executor for beat in beats],
        [beat.pool for beat in beats],
        [beat.slots for beat in beats],
        [beat.busy for beat in beats],
        [json_text(beat.handlers) for beat in beats],
        [beat.host for beat in beats],
        [beat.pid for beat in beats],
        [beat.program for beat in beats],
        [beat.draining for beat in beats],
        [beat.stopped for beat in beats],
        [beat.cpu for beat in beats],
        [beat.memory_bytes for beat in beats],
        [beat.sandboxes for beat in beats],
        [json_text(label_texts(beat.labels)) for beat in beats],
        [beat.disk_bytes for beat in beats],
    )
