"""The daily work on history: moves what has ended, archives and drops what is over, shortens the ledger.

Anybody may begin it at any time, and go on with it where somebody else has ended: each of its steps is
a transaction that looks for what is left to do.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from scheduler.clock import Clock
from scheduler.domain.audit import AuditAction, AuditKind
from scheduler.domain.retention import RetentionSettings, next_pass
from scheduler.errors import ConflictError, SchedulerError
from scheduler.store.archive import archive_day
from scheduler.store.audit import Change, record_changes
from scheduler.store.audit_retaining import forget_audit_day
from scheduler.store.ledger_retaining import BATCH, forget_some
from scheduler.store.queries import queries
from scheduler.store.stores import Store
from schemas.durations import format_duration

if TYPE_CHECKING:
    from scheduler.store.pool import Connection

_ASKED: Final = Change(AuditAction.PRUNE, AuditKind.HISTORY, "ended runs")
Q: Final = queries("retention")
Row = dict[str, Any]

_LEAST: Final = UUID(int=0)
_FIRST: Final = 200
"""Flows of the first batch; how long each takes says how large the next one is."""
_MOST: Final = 5000
_BATCH_S: Final = 0.3
_PAUSE: Final = 0.5
"""Of the time that a batch took, so long the next one waits: others want the disk too."""
_AGAIN: Final = timedelta(minutes=10)


@dataclass(slots=True)
class Done:
    """What one pass has done; ``bytes`` were given back with the partitions."""

    moved_runs: int = 0
    moved_attempts: int = 0
    archived_runs: int = 0
    dropped_partitions: int = 0
    dropped_runs: int = 0
    bytes: int = 0
    forgotten_firings: int = 0
    forgotten_events: int = 0
    forgotten_backfills: int = 0
    forgotten_audit: int = 0


async def plan_next(store: Store, settings: RetentionSettings, now: datetime) -> datetime:
    """Return when the next pass is due; planned now if nobody has."""
    async with store.connection() as db:
        await db.execute(Q["plan_next"], next_pass(settings, now))
        next_at: datetime = (await last_pass(db))["next_at"]
    return next_at


async def retain(store: Store, settings: RetentionSettings, clock: Clock, *, asked: bool = False) -> Done | None:
    """Do the daily work if it is due, or ``asked`` for; None when it is not, or somebody is at it.

    Raises:
        ConfigurationError: the archive cannot be written; nothing that it lacks is dropped.
        DatabaseUnavailableError: the database went away; the work is due again in ten minutes.
    """
    async with store.transaction() as db:
        if await db.fetchval(Q["take_turn"], asked) is None:
            return None
        if asked:
            await record_changes(db, store.by, store.by.tenant, [_ASKED])
    done = Done()
    try:
        async for _ in _steps(store, settings, clock, done):
            async with store.connection() as db:
                await db.execute(Q["note_progress"], asdict(done))
    except SchedulerError as error:
        async with store.connection() as db:
            await db.execute(Q["note_trouble"], str(error), clock.now() + _AGAIN)
        raise
    async with store.connection() as db:
        await db.execute(Q["note_end"], asdict(done), next_pass(settings, clock.now()))
    return done


async def show_retention(store: Store) -> Row:
    """Return when history was and will be worked on, what that did, and what each class holds."""
    async with store.connection() as db:
        return await last_pass(db) | {"history": [dict(found) for found in await db.fetch(Q["list_kept"])]}


async def last_pass(db: "Connection") -> Row:
    """Return when history was and will be worked on, and what that did."""
    row = await db.fetchrow(Q["get_retaining"])
    if row is None:
        raise ConflictError("the database has no history")
    return dict(row)


async def foresee(store: Store, settings: RetentionSettings) -> Row:
    """Return what a pass would do now: the partitions it would drop, and at most how many rows it would look at."""
    async with store.connection() as db:
        drops = [dict(row) for row in await db.fetch(Q["list_due"])]
        counts = await db.fetchrow(Q["count_due"], settings.at_hand, settings.ledger, settings.audit)
    return {"partitions": drops, "most": dict(counts or {})}


async def _steps(store: Store, settings: RetentionSettings, clock: Clock, done: Done) -> AsyncIterator[None]:
    """Work on, and come back after each step."""
    async for _ in _move(store, settings, clock, done):
        yield
    async for _ in _drop(store, settings, done):
        yield
    async for _ in _forget(store, settings, done):
        yield
    while gone := await forget_audit_day(store, settings):
        done.forgotten_audit += gone
        yield


async def _move(store: Store, settings: RetentionSettings, clock: Clock, done: Done) -> AsyncIterator[None]:
    behind, size = _LEAST, _FIRST
    spans = {state.value: format_duration(span) for state, span in settings.spans.items()}
    while True:
        began = clock.monotonic()
        async with store.transaction(flush=False) as db:
            row = await db.fetchrow(Q["move_flows"], behind, size, settings.at_hand, spans)
        if row is None or row["last"] is None or not row["looked_at"]:
            return  # at the end, or another mover is at it
        behind = row["last"]
        done.moved_runs += row["runs"]
        done.moved_attempts += row["attempts"]
        yield
        took = clock.monotonic() - began
        size = max(_FIRST // 10, min(_MOST, int(size * _BATCH_S / max(took, _BATCH_S / 2))))
        await clock.sleep(took * _PAUSE)


async def _drop(store: Store, settings: RetentionSettings, done: Done) -> AsyncIterator[None]:
    async with store.connection() as db:
        due = await db.fetch(Q["list_due"])
    for row in due:
        key = (row["class"], row["day"])
        async with store.connection() as db:
            if await db.fetchval(Q["close_day"], *key) is None:
                continue  # runs have come, or another one has dropped it
        if settings.archive is not None and row["archived_at"] is None:
            done.archived_runs += await archive_day(store, settings.archive, row, compress=settings.compress)
            async with store.connection() as db:
                await db.execute(Q["note_archived"], *key)
        async with store.transaction() as db:
            freed = await db.fetchval(Q["drop_day"], *key)
        if freed is not None:
            done.dropped_partitions += 1
            done.dropped_runs += row["runs"]
            done.bytes += freed
        yield


async def _forget(store: Store, settings: RetentionSettings, done: Done) -> AsyncIterator[None]:
    async for gone in _walk(store, settings, "forget_firings", (), _LEAST):
        done.forgotten_firings += gone
        yield
    async with store.connection() as db:
        tenants = [row["name"] for row in await db.fetch(Q["list_tenants"])]
    for tenant in tenants:
        async for gone in _walk(store, settings, "forget_events", (tenant,), datetime.min.replace(tzinfo=UTC)):
            done.forgotten_events += gone
            yield
    gone = 1
    while gone:
        async with store.transaction(flush=False) as db:
            gone = await db.fetchval(Q["forget_backfills"], settings.ledger)
        done.forgotten_backfills += gone
        yield


async def _walk(
    store: Store, settings: RetentionSettings, query: str, whose: Sequence[str], behind: Any
) -> AsyncIterator[int]:
    """Have ``query`` forget rows in their order, a batch at a time; yield how many of each are gone."""
    looked_at = BATCH
    while looked_at == BATCH:
        row = await forget_some(store, settings, query, *whose, behind)
        if row["last"] is None:
            return
        looked_at = 0 if row["last"] == behind else row["looked_at"]
        behind = row["last"]
        yield row["gone"]


def describe(done: Mapping[str, Any]) -> str:
    """Return what a pass did in words, without what it did not; ``nothing`` where that is all."""
    said = [f"{word.replace('_', ' ')}: {count}" for word, count in done.items() if count]
    return ", ".join(said) or "nothing"
