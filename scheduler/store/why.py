"""Asks the gates about one run: the same rows, counted in the same way, as an offer is made by."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

from scheduler.domain.why import Found, Gate
from scheduler.errors import NotFoundError
from scheduler.store.circuits import get_open
from scheduler.store.offering import places
from scheduler.store.queries import queries
from scheduler.store.stores import Store
from schemas.run_spec import HttpSpec
from schemas.vocabulary import RunState, Turn

if TYPE_CHECKING:
    import asyncpg

    from scheduler.store.pool import Connection

Q: Final = queries("why")
_OFFERS: Final = queries("offers")
_TO_HAVE: Final = {
    "succeeded": "to have succeeded",
    "failed": "to have failed",
    "finished": "to have ended",
    "skipped": "to be skipped",
}
_BEFORE_OFFER: Final = frozenset({RunState.WAITING, RunState.READY, RunState.BACKING_OFF})


@dataclass(frozen=True, slots=True)
class Why:
    """Where a run stands, and the gates before its start; none are left when it has started or is over."""

    run: UUID
    job: str
    state: RunState
    gates: Sequence[Found]


async def ask_gates(store: Store, tenant: str, run_id: UUID, *, lease_s: float) -> Why:
    """Return what holds a run back; ``lease_s`` is how long an executor may be silent.

    Raises:
        NotFoundError: there is no such run.
    """
    async with store.transaction() as db:
        run = await db.fetchrow(Q["get_held"], tenant, run_id, lease_s)
        if run is None:
            raise NotFoundError(f"there is no run {run_id}")
        state = RunState(run["state"])
        gates: list[Found] = []
        if state in _BEFORE_OFFER:
            gates += _tenant(tenant, run)
            gates += await _needs(db, run, state)
            gates += await _turn(db, run, state)
            gates += await _limits(db, tenant, run)
        if state in _BEFORE_OFFER or state is RunState.QUEUED:
            gates += await _circuit(db, tenant, run)
            gates.append(_executor(run))
            gates.append(await _queue(db, run, lease_s) if state in _BEFORE_OFFER else _claim(run))
    return Why(run_id, run["job"], state, gates)


def _tenant(tenant: str, run: "asyncpg.Record") -> list[Found]:
    if run["suspended_at"] is None:
        return []
    since = run["suspended_at"].isoformat()
    text = f"tenant {tenant} is suspended since {since}: scheduler tenant activate {tenant}"
    return [Found(Gate.TENANT, True, text)]


async def _needs(db: "Connection", run: "asyncpg.Record", state: RunState) -> list[Found]:
    if state is RunState.WAITING and run["turn"] != Turn.AWAITS:
        rows = await db.fetch(Q["list_needs"], run["id"])
        if rows and not run["delayed"]:
            how = "any of: " if run["needs_any"] and len(rows) > 1 else ""
            texts = [f"{row['job']} {_TO_HAVE[row['condition']]} ({_upstream(row)})" for row in rows]
            said = f"it needs {how}{', '.join(texts)}"
            return [Found(Gate.NEEDS, True, said, [row["run"] for row in rows if row["run"]])]
    if state is RunState.BACKING_OFF:
        return [Found(Gate.DELAY, True, f"the next attempt is due at {run['sweep_at'].isoformat()}")]
    if run["delayed"]:
        return [Found(Gate.DELAY, True, f"released at {run['release_at'].isoformat()}")]
    return []


def _upstream(row: "asyncpg.Record") -> str:
    return f"run {row['run']} is {row['state']}" if row["run"] else "a later flow brings it"


async def _turn(db: "Connection", run: "asyncpg.Record", state: RunState) -> list[Found]:
    if state is not RunState.WAITING or run["turn"] != Turn.AWAITS:
        return []
    before = [row["id"] for row in await db.fetch(Q["list_before"], run["job_id"], run["id"])]
    return [Found(Gate.TURN, True, f"its turn has not come (overlap {run['overlap']})", before)]


async def _limits(db: "Connection", tenant: str, run: "asyncpg.Record") -> list[Found]:
    found: list[Found] = []
    if run["limit_most"] is not None:
        rows = await db.fetch(Q["list_holders"], tenant, run["limit_key"])
        held = rows[0]["held"] if rows else 0
        text = f"{run['limit_key']}: {held} of {run['limit_most']} places are taken"
        found.append(Found(Gate.CONCURRENCY, held >= run["limit_most"], text, [row["id"] for row in rows]))
    if run["rate"] is not None:
        held_until = f"{run['rate']}: the next may start at {run['rate_at'].isoformat()}" if run["rate_holds"] else None
        found.append(Found(Gate.RATE, held_until is not None, held_until or f"{run['rate']}: one may start now"))
    return found


async def _circuit(db: "Connection", tenant: str, run: "asyncpg.Record") -> list[Found]:
    target = None if run["http"] is None else HttpSpec.model_validate(run["http"]).circuit
    if target is None:
        return []
    row = await get_open(db, tenant, target)
    if row is None:
        return [Found(Gate.CIRCUIT, False, f"{target}: the circuit is closed")]
    text = f"{target}: {row['failures']} attempts in a row had no proper answer, the circuit is open "
    if not row["holds"]:
        return [Found(Gate.CIRCUIT, False, f"{text}and one run may try")]
    if row["open_until"] > run["now"]:
        return [Found(Gate.CIRCUIT, True, f"{text}until {row['open_until'].isoformat()}")]
    return [Found(Gate.CIRCUIT, True, f"{text}while one run tries", [row["probe_run"]])]


def _executor(run: "asyncpg.Record") -> Found:
    missing: str | None = run["missing"]
    return Found(Gate.EXECUTOR, missing is not None, missing or f"pool {run['pool']} has one that can")


async def _queue(db: "Connection", run: "asyncpg.Record", lease_s: float) -> Found:
    if run["queue_limit"] is None:
        return Found(Gate.QUEUE, True, f"there is no pool {run['pool']}: scheduler pool set {run['pool']}")
    if run["paused_at"] is not None:
        since = run["paused_at"].isoformat()
        return Found(
            Gate.QUEUE, True, f"pool {run['pool']} is paused since {since}: scheduler queue resume {run['pool']}"
        )
    strength = await db.fetchrow(_OFFERS["pool_strength"], run["pool"], lease_s, [], [], [], [])
    slots, queued = (strength["slots"], strength["queued"]) if strength else (0, 0)
    most = places(run["queue_limit"], slots, None)
    text = f"{queued} offers wait in pool {run['pool']}, which has {slots} slots"
    return Found(Gate.QUEUE, queued >= most, text)


def _claim(run: "asyncpg.Record") -> Found:
    return Found(Gate.CLAIM, True, f"offered at {run['queued_at'].isoformat()}; no executor had a free slot for it yet")
