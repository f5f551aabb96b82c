"""The feed: facts about runs and firings, read behind a cursor in the order in which they can no longer change.

Whoever writes a fact writes its row in the same statement, with ids only; what else is told of it
is looked up when it is read. A cursor names a place in the feed and stays good for as long as rows
are kept (``retention.feed``).
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from scheduler.domain.run_state import FINAL
from scheduler.domain.trace import traceparent_of
from scheduler.errors import CallerError, ConflictError
from scheduler.store.queries import queries
from scheduler.store.stores import Store
from schemas.feed import TYPE_PREFIX, CloudEvent, FiringData, RunData
from schemas.vocabulary import Verdict

if TYPE_CHECKING:
    import asyncpg

    from scheduler.store.pool import Connection

Q: Final = queries("feed")

_CURSOR: Final = re.compile(r"([0-9]{1,18})-([0-9]{1,18})-([0-9]{1,9})")
_PAGE_ROWS: Final = 50
"""Rows looked at for one page: each holds one fact or hundreds."""
_KEY_ROWS: Final = 200
_PRUNED_ROWS: Final = 1000
_LAST_PLACE: Final = 2**31 - 1
_PROGRESS: Final = "run.progress"
_ENDS: Final = frozenset(f"run.{state}" for state in FINAL)
_OF_ATTEMPT: Final = ("outcome", "reason", "exit_code", "http_status", "exception", "elapsed_s")
_OF_RUN: Final = ("job_version", "flow_id", "firing_id", "retry_of", "fired_at", "attempt")


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in the feed: transaction, row, element. Everything up to and with it has been read."""

    xid: int = 0
    n: int = 0
    place: int = 0

    def __str__(self) -> str:
        return f"{self.xid}-{self.n}-{self.place}"

    @classmethod
    def read(cls, cursor: str) -> Self:
        """Return the place that a cursor names.

        Raises:
            CallerError: it is no cursor of ours.
        """
        found = _CURSOR.fullmatch(cursor)
        if found is None:
            raise CallerError(f"{cursor[:60]!r} is no cursor of the feed")
        return cls(*map(int, found.groups()))


START: Final = Position()


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact with its routing key. ``at`` is behind it; ``event`` is what is said of it."""

    key: str
    at: Position
    event: CloudEvent


@dataclass(frozen=True, slots=True)
class FeedPage:
    """Facts in order. ``cursor`` is where to go on; ``more``: there are more already."""

    facts: Sequence[Fact]
    cursor: str
    more: bool


async def list_feed(store: Store, after: str | None, *, tenant: str | None, limit: int = 100) -> FeedPage:
    """Return facts behind the cursor ``after``: of one tenant, or of all where it is None.

    Without ``after`` from the oldest that is kept. A page without facts moves the cursor all the same.

    Raises:
        CallerError: ``after`` is no cursor.
        ConflictError: facts behind it are pruned, or it is of another database.
    """
    async with store.connection() as db:
        # Looked at before the rows: what lies below it is among them.
        horizon = await _horizon(db)
        position = START if after is None else _checked(Position.read(after), horizon)
        facts, more = await read_facts(db, position, limit, tenant)
    if more:
        return FeedPage(facts, str(facts[-1].at), more=True)
    reached = facts[-1].at if facts else position
    return FeedPage(facts, str(max(reached, Position(horizon["xid"]))), more=False)


async def feed_end(store: Store) -> str:
    """Return the cursor behind all that has happened so far."""
    async with store.connection() as db:
        return str(Position((await _horizon(db))["xid"]))


async def read_facts(
    db: "Connection", position: Position, limit: int, tenant: str | None = None
) -> tuple[list[Fact], bool]:
    """Return facts behind ``position``, and whether there are more."""
    rows = await db.fetch(Q["list_facts"], position.xid, position.n, position.place, tenant, limit, _PAGE_ROWS)
    more = len(rows) == limit or (bool(rows) and rows[0]["looked_at"] == _PAGE_ROWS)
    return await _tell(db, rows), more


async def read_keys(db: "Connection", position: Position) -> tuple[list[str], Position, bool]:
    """Return the routing keys of the next rows behind ``position``, where these end, and whether there are more."""
    row = await db.fetchrow(Q["list_keys"], position.xid, position.n, _KEY_ROWS)
    if row is None:
        return [], position, False
    return row["keys"], Position(row["xid"], row["n"], _LAST_PLACE), row["looked_at"] == _KEY_ROWS


async def take_turn(db: "Connection") -> Position | None:
    """Return where publishing stands and keep the turn until the transaction ends; None: somebody else has it."""
    row = await db.fetchrow(Q["take_turn"])
    return None if row is None else Position(row["xid"], row["n"], row["place"])


async def move_on(db: "Connection", position: Position) -> None:
    """Note that everything up to ``position`` is published."""
    await db.execute(Q["move_on"], position.xid, position.n, position.place)


async def prune_feed(store: Store, retention_s: float) -> None:
    """Delete rows that are published and older than ``retention_s``."""
    gone = _PRUNED_ROWS
    while gone == _PRUNED_ROWS:
        async with store.transaction(flush=False) as db:
            gone = await db.fetchval(Q["prune"], retention_s, _PRUNED_ROWS)


async def _horizon(db: "Connection") -> "asyncpg.Record":
    row = await db.fetchrow(Q["get_horizon"])
    if row is None:
        raise ConflictError("the database has no feed")
    return row


def _checked(position: Position, horizon: "asyncpg.Record") -> Position:
    if position.xid > horizon["next_xid"]:
        raise ConflictError(
            f"the cursor {position} is of another database, or of one that a backup was put in place of"
        )
    if (position.xid, position.n) < (horizon["pruned_xid"], horizon["pruned_n"]):
        raise ConflictError(f"facts behind the cursor {position} are no longer kept; begin without a cursor")
    return position


async def _tell(db: "Connection", rows: Sequence["asyncpg.Record"]) -> list[Fact]:
    """Look up what is told of facts."""
    if not rows:
        return []
    names = {row["id"]: row["name"] for row in await db.fetch(Q["name_jobs"], list({row["job_id"] for row in rows}))}
    of_runs = [row for row in rows if row["fact"].startswith("run.")]
    of_firings = [row for row in rows if not row["fact"].startswith("run.")]
    runs = iter(await _describe_runs(db, of_runs))
    firings = iter(await _describe(db, "describe_firings", of_firings, "id"))
    of_progress = [row for row in of_runs if row["fact"] == _PROGRESS]
    progress = iter(await _describe(db, "list_progress", of_progress, "id", "attempt"))
    facts = []
    for row in rows:
        job = names.get(row["job_id"], str(row["job_id"]))
        if row["fact"].startswith("run."):
            found = next(runs)
            data = _run_data(row, job, found)
            if row["fact"] == _PROGRESS:
                data |= next(progress)
            facts.append(_fact(row, RunData.model_validate(data), _run_trace(row, found)))
        else:
            facts.append(_firing_fact(row, job, dict(next(firings))))
    return facts


async def _describe_runs(db: "Connection", rows: Sequence["asyncpg.Record"]) -> Iterable["asyncpg.Record"]:
    found = list(await _describe(db, "describe_runs", rows, "id", "attempt"))
    missing = [place for place, row in enumerate(found) if row["id"] is None]
    past = await _describe(db, "describe_past_runs", [rows[place] for place in missing], "id", "attempt")
    for place, row in zip(missing, past, strict=True):
        found[place] = row
    return found


async def _describe(
    db: "Connection", query: str, rows: Sequence["asyncpg.Record"], *columns: str
) -> Iterable["asyncpg.Record"]:
    return await db.fetch(Q[query], *([row[column] for row in rows] for column in columns)) if rows else ()


def _run_data(row: "asyncpg.Record", job: str, found: "asyncpg.Record") -> dict[str, Any]:
    """Tell of a run what the fact says: of its start nothing that came later, of its end how."""
    told: dict[str, Any] = {"job": job, "run_id": row["id"], **{name: found[name] for name in _OF_RUN}}
    if row["fact"] not in {"run.started", _PROGRESS}:
        told |= {name: found[name] for name in _OF_ATTEMPT}
    if row["fact"] in _ENDS:
        told["outcome"] = found["run_outcome"] or told["outcome"]
        told["reason"] = found["run_reason"] or told["reason"]
    return told


def _run_trace(row: "asyncpg.Record", found: "asyncpg.Record") -> str | None:
    """Return the place of the attempt in its trace, and where there was none that of the firing; None: it is gone."""
    flow_id, given = found["flow_id"], found["traceparent"]
    if flow_id is None:
        return None
    ran = row["fact"] in {"run.started", _PROGRESS} or found["outcome"] is not None
    run_id, attempt = (row["id"], found["attempt"]) if ran else (flow_id, 0)
    return traceparent_of(flow_id, run_id, attempt, given)


def _firing_fact(row: "asyncpg.Record", job: str, found: dict[str, Any]) -> Fact:
    verdict, given = row["fact"].removeprefix("firing."), found.pop("traceparent")
    data = FiringData.model_validate({"job": job, "firing_id": row["id"], "verdict": verdict, **found})
    root = data.run_id if data.verdict is Verdict.STARTED else None
    return _fact(row, data, None if root is None else traceparent_of(root, root, 0, given))


def _fact(row: "asyncpg.Record", data: RunData | FiringData, traceparent: str | None) -> Fact:
    at = Position(row["xid"], row["n"], row["place"])
    event = CloudEvent(
        id=f"{row['id']}.{row['n']}",
        source=f"/{row['tenant']}/{data.job}",
        type=f"{TYPE_PREFIX}{row['fact']}",
        subject=str(row["id"]),
        time=row["at"],
        cursor=str(at),
        traceparent=traceparent,
        data=data,
    )
    return Fact(f"{row['tenant']}.{row['fact']}.{data.job}", at, event)
