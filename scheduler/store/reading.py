"""What people look at. Rows come back as plain mappings with the names that ``--json`` prints."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from pydantic import ValidationError

from scheduler.domain.run_state import FINAL
from scheduler.errors import NotFoundError
from scheduler.store.queries import queries
from scheduler.store.stores import Store
from scheduler.store.unreadable import describe
from schemas.job_spec import JobSpec
from schemas.vocabulary import Priority

if TYPE_CHECKING:
    from scheduler.store.pool import Connection

Q: Final = queries("reading")
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs to list: all where a field is None. ``after`` is the last id of the page before."""

    job: str | None = None
    states: Sequence[str] | None = None
    since: datetime | None = None
    after: UUID | None = None
    limit: int = 50


LONG_LINE: Final = 100
"""More runs of one job than this in line for their turn are told of: the line only grows if the job is too slow."""
_GREATEST: Final = UUID(int=(1 << 128) - 1)
_SILENT_S: Final = 30.0
"""An executor not heard of for so long is not alive, unless the caller knows the lease."""


async def list_jobs(store: Store, tenant: str, *, after: UUID | None = None, limit: int | None = None) -> list[Row]:
    """Return jobs by name: at most ``limit`` behind the job with the id ``after``; None: from the first, all."""
    return [_job(row) for row in await _rows(store, "list_jobs", tenant, None, after, limit)]


async def get_job(store: Store, tenant: str, name: str) -> Row:
    """Return one job with its definition and its triggers."""
    found = await _rows(store, "list_jobs", tenant, name, None, None)
    if not found:
        raise NotFoundError(f"there is no job {name}")
    return _job(found[0]) | {"spec": found[0]["spec"], "triggers": await _rows(store, "list_triggers", tenant, name)}


async def list_runs(store: Store, tenant: str, which: RunFilter, *, lease_s: float = _SILENT_S) -> list[Row]:
    """Return runs, newest first; ``held_by`` says why no executor can take one that waits for it."""
    states = sorted(set(which.states)) if which.states else None
    async with store.connection() as db:
        if states is not None and which.job is None:
            after = which.after or _GREATEST
            page = await db.fetch(Q["page_of_states"], tenant, states, which.since, after, which.limit)
        else:
            bounds = (which.since, which.after, which.limit)
            page = await db.fetch(Q["page_of_runs"], tenant, which.job, states, *bounds)
        found = await _with_past(db, tenant, which, states, [row["id"] for row in page])
        rows = await db.fetch(Q["show_runs"], found, lease_s)
    return [_run(dict(row)) for row in rows]


async def list_runs_between(store: Store, tenant: str, least: UUID, greatest: UUID, *, limit: int) -> list[Row]:
    """Return the runs whose ids lie in a range, newest first."""
    return await _rows(store, "list_runs_between", tenant, least, greatest, limit)


async def has_tenant(store: Store, tenant: str) -> bool:
    return bool((await _rows(store, "has_tenant", tenant))[0]["known"])


async def get_run(store: Store, tenant: str, run_id: UUID, *, lease_s: float = _SILENT_S) -> Row:
    """Return one run with its attempts and the needs that held it; ``held_by`` as in ``list_runs``."""
    found = await _rows(store, "get_run", tenant, run_id, lease_s)
    if not found:
        raise NotFoundError(f"there is no run {run_id}")
    attempts = await _rows(store, "list_attempts", run_id)
    return _run(found[0]) | {"attempts": attempts, "needs": await _rows(store, "list_edges", run_id)}


async def get_flow(store: Store, tenant: str, flow_id: UUID) -> Row:
    """Return one flow with its runs, those of other flows that it joined included, and what each needed."""
    found = await _rows(store, "get_flow", tenant, flow_id)
    if not found:
        raise NotFoundError(f"there is no flow {flow_id}")
    runs = await _rows(store, "list_flow_runs", flow_id)
    edges: dict[UUID, list[Row]] = {}
    for edge in await _rows(store, "list_edges_of", [run["id"] for run in runs]):
        edges.setdefault(edge["run_id"], []).append(edge)
    return found[0] | {"runs": [run | {"needs": edges.get(run["id"], [])} for run in runs]}


async def list_outputs(store: Store, tenant: str, run_id: UUID, *, attempt: int | None = None) -> list[Row]:
    """Return what each ended attempt wrote: head, tail and the bytes there were in all."""
    if not await _rows(store, "get_run", tenant, run_id, _SILENT_S):
        raise NotFoundError(f"there is no run {run_id}")
    return await _rows(store, "list_outputs", run_id, attempt)


async def list_verdicts(store: Store, firing_ids: Sequence[UUID]) -> dict[UUID, Row]:
    """Return what became of firings and of the runs they started."""
    return {row["id"]: row for row in await _rows(store, "list_verdicts", list(firing_ids))}


async def list_executors(store: Store, *, lease_s: float) -> list[Row]:
    """Return executors that are alive, or stopped within a day; ``lease_s`` is how long one may be silent."""
    return await _rows(store, "list_executors", lease_s)


async def count_health(store: Store, tenant: str, *, lease_s: float) -> Row:
    return (await _rows(store, "count_health", tenant, lease_s))[0]


async def list_held(store: Store, tenant: str, *, lease_s: float) -> dict[str, int]:
    """Return why runs wait that no executor can take, and how many they are."""
    return {row["held_by"]: row["runs"] for row in await _rows(store, "list_held", tenant, lease_s)}


async def list_long_lines(store: Store, tenant: str) -> dict[str, int]:
    """Return the jobs with more than LONG_LINE runs in line for their turn, the longest line first."""
    return {row["job"]: row["runs"] for row in await _rows(store, "list_long_lines", tenant, LONG_LINE)}


async def list_next(store: Store, tenant: str, *, limit: int) -> list[Row]:
    """Return the next instants at which triggers fire, the first one first; of each trigger its next alone."""
    return await _rows(store, "list_next", tenant, limit)


async def is_idle(store: Store) -> bool:
    """Whether nothing will happen by itself any more: no trigger will fire, no run can go on."""
    return bool((await _rows(store, "is_idle"))[0]["idle"])


async def list_new_runs(store: Store, after: UUID, also: Sequence[UUID]) -> list[Row]:
    """Return the runs made after ``after`` (ids grow with time), and ``also``."""
    return await _rows(store, "list_new_runs", after, list(also))


async def _rows(store: Store, query: str, *arguments: Any) -> list[Row]:
    async with store.connection() as db:
        return [dict(row) for row in await db.fetch(Q[query], *arguments)]


async def _with_past(
    db: "Connection", tenant: str, which: RunFilter, states: list[str] | None, page: list[UUID]
) -> list[UUID]:
    """Return a page of runs with those of history that belong into it, newest first."""
    final = None if states is None else [state for state in states if state in FINAL]
    if final is not None and not final:
        return page
    last = page[-1] if len(page) == which.limit else None
    bounds = (which.since, which.after or _GREATEST, last, which.limit)
    past = [row["id"] for row in await db.fetch(Q["past_page"], tenant, which.job, final, *bounds)]
    return sorted(page + past, reverse=True)[: which.limit]


def _job(row: Row) -> Row:
    spec = row["spec"]
    paused_at = row["paused_at"] or row["tenant_paused_at"]
    return {
        "id": row["id"],
        "name": row["name"],
        "description": spec.get("description", ""),
        "version": row["version"],
        "source": row["source"],
        "enabled": row["enabled"],
        "paused": paused_at is not None,
        "paused_at": paused_at,
        "pause_note": row["pause_note"],
        "paused_by": row["paused_by"],
        "pool": spec.get("pool"),
        "needs": [need["job"] for need in spec.get("needs", ())],
        "next_at": row["next_at"],
        "trouble": row["trouble"] or _trouble(spec),
        "last_run": row["last_run_id"],
        "last_state": row["last_state"],
        "last_finished_at": row["last_finished_at"],
        "updated_at": row["updated_at"],
    }


def _trouble(spec: Row) -> str | None:
    """Return why a stored definition cannot be read by this program, nor then by its Dispatchers."""
    try:
        JobSpec.model_validate(spec, extra="ignore")
    except ValidationError as error:
        return describe(error)
    return None


def _run(row: Row) -> Row:
    return row | {"priority": list(Priority)[row["priority"]].value}
