"""What people ask for: pause, enable, trigger, retry, cancel, discard. Rows and a ring; actors do the rest."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from operator import add
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from scheduler.clock import Clock
from scheduler.domain.audit import AuditAction, AuditKind
from scheduler.domain.run_state import CANCELLED_AT_ONCE, FINAL
from scheduler.domain.trace import as_header
from scheduler.errors import ConflictError, NotFoundError
from scheduler.ids import uuid7
from scheduler.store.audit import Change, names_of, record_changes
from scheduler.store.doorbell import CANCEL, DEFINITIONS, WORK
from scheduler.store.given_params import check_given_params
from scheduler.store.queries import queries
from scheduler.store.stores import Store
from schemas.vocabulary import FiringKind, RunState

if TYPE_CHECKING:
    import asyncpg

    from scheduler.store.pool import Connection

Q: Final = queries("control")
_DEFINITIONS: Final = queries("definitions")
_TOPICS: Final = {FiringKind.MANUAL: "job.trigger", FiringKind.RETRY: "run.retry"}


@dataclass(frozen=True, slots=True)
class Asked:
    """A firing somebody asked for."""

    firing_id: UUID
    job: str


@dataclass(frozen=True, slots=True)
class MadeDue:
    """How many rows of each kind are looked at again."""

    events: int
    firings: int
    offers: int
    ends: int

    def __add__(self, other: "MadeDue") -> "MadeDue":
        return MadeDue(*map(add, astuple(self), astuple(other)))


async def pause_job(store: Store, tenant: str, name: str, *, note: str | None, clock: Clock) -> bool:
    """Plan nothing of a job until it is resumed; runs under way go on. False: it was paused already."""
    done = Change(AuditAction.PAUSE, AuditKind.JOB, name, after={"note": note} if note else None)
    return await _change_job(store, tenant, done, ("pause_job", note, store.by.actor), clock)


async def resume_job(store: Store, tenant: str, name: str, *, clock: Clock, at: datetime | None = None) -> bool:
    """Plan a job again; what fell into the pause is in the ledger as paused. False: it was not paused.

    ``at``: where the pause ends for its triggers, now by default. Later: they fire from then on. Earlier: what
    they planned since then is caught up as after an outage.
    """
    done = Change(AuditAction.RESUME, AuditKind.JOB, name, after={"at": at} if at else None)
    return await _change_job(store, tenant, done, ("resume_job",), clock, at)


async def enable_job(store: Store, tenant: str, name: str, *, enabled: bool, clock: Clock) -> bool:
    """Enable or disable a job; False: it was so already. A disabled job starts in no way."""
    done = Change(AuditAction.ENABLE if enabled else AuditAction.DISABLE, AuditKind.JOB, name)
    return await _change_job(store, tenant, done, ("enable_job", enabled), clock)


async def pause_all(store: Store, tenant: str, *, clock: Clock) -> bool:
    """Plan nothing of ``tenant`` until it is resumed. False: it was paused already."""
    return await _change_tenant(store, tenant, AuditAction.PAUSE, ("pause_tenant", store.by.actor), clock)


async def resume_all(store: Store, tenant: str, *, clock: Clock) -> bool:
    """Plan again; jobs paused one by one stay paused. False: the tenant was not paused."""
    return await _change_tenant(store, tenant, AuditAction.RESUME, ("resume_tenant",), clock)


async def trigger_jobs(
    store: Store,
    tenant: str,
    names: Sequence[str],
    *,
    params: Mapping[str, Any] | None,
    clock: Clock,
    traceparent: str | None = None,
) -> list[Asked]:
    """Fire jobs now, in the order of ``names``; each firing gets a verdict like any other.

    ``traceparent``: the W3C trace context of who asks, if it has one; what is none is ignored.

    Raises:
        NotFoundError: there is no such job; nothing is fired.
        ConflictError: one of them is disabled, or the tenant suspended; nothing is fired.
        InvalidParamsError: the ``params_schema`` of one does not allow its params; nothing is fired.
    """
    async with store.transaction() as db:
        jobs = {row["name"]: row for row in await db.fetch(Q["lock_jobs_by_name"], tenant, list(names))}
        for name in names:
            if name not in jobs:
                raise NotFoundError(f"there is no job {name}")
            if not jobs[name]["enabled"]:
                raise ConflictError(f"job {name} is disabled: scheduler job enable {name}")
            if jobs[name]["suspended"]:
                raise ConflictError(f"tenant {tenant} is suspended: scheduler tenant activate {tenant}")
        wanted: list[Mapping[str, Any]] = [dict(jobs[name]) for name in dict.fromkeys(names)]
        await check_given_params(db, wanted, params)
        data = {"jobs": [row["name"] for row in wanted], "params": params, **as_header(traceparent)}
        asked = await _ask(db, tenant, FiringKind.MANUAL, wanted, data, clock=clock)
        await record_changes(db, store.by, tenant, [_triggered(one, params) for one in asked])
    return asked


async def retry_run(
    store: Store,
    tenant: str,
    run_id: UUID,
    *,
    params: Mapping[str, Any] | None = None,
    clock: Clock,
    traceparent: str | None = None,
) -> Asked:
    """Ask for a new run of a run that is over, with its params under ``params``; the old one stays as it is.

    ``traceparent`` as of ``trigger_jobs``.

    Raises:
        NotFoundError: there is no such run.
        ConflictError: it is not over, was retried or discarded already, or its job is deleted.
    """
    async with store.transaction() as db:
        run = await _lock_run(db, tenant, run_id)
        if RunState(run["state"]) not in FINAL:
            raise ConflictError(f"run {run_id} is {run['state']}: only a run that is over can be retried")
        if run["retried_by"] is not None:
            raise ConflictError(f"run {run_id} was retried already, by run {run['retried_by']}")
        if run["discarded_at"] is not None:
            raise ConflictError(f"run {run_id} was discarded")
        if run["job_deleted"]:
            raise ConflictError(f"job {run['job_name']} is deleted")
        if await db.fetchval(Q["find_retry_owed"], run_id, run["job_id"]):
            raise ConflictError(f"run {run_id} is being retried already")
        job = {"id": run["job_id"], "name": run["job_name"], "version": run["version"]}
        both = {**(run["params"] or {}), **(params or {})}
        await check_given_params(db, [job], both)
        data = {"run": str(run_id), "params": both or None, **as_header(traceparent)}
        asked = await _ask(db, tenant, FiringKind.RETRY, [job], data, clock=clock)
        after = {"job": run["job_name"], "firing": str(asked[0].firing_id), **names_of(params)}
        await record_changes(db, store.by, tenant, [Change(AuditAction.RETRY, AuditKind.RUN, str(run_id), after=after)])
        return asked[0]


async def cancel_run(store: Store, tenant: str, run_id: UUID, *, reason: str) -> RunState:
    """Cancel a run. Returns CANCELLED when it is over now, RUNNING when its executor was asked to stop it.

    Raises:
        NotFoundError: there is no such run.
        ConflictError: it is over already.
    """
    async with store.transaction() as db:
        run = await _lock_run(db, tenant, run_id)
        if RunState(run["state"]) in FINAL:
            raise ConflictError(f"run {run_id} is {run['state']}")
        before = {"job": run["job_name"], "state": run["state"]}
        done = Change(AuditAction.CANCEL, AuditKind.RUN, str(run_id), before, {"reason": reason})
        await record_changes(db, store.by, tenant, [done])
        at_once = [state.value for state in CANCELLED_AT_ONCE]
        if await db.fetchval(Q["cancel_runs"], [run_id], reason, at_once):
            await db.execute(_DEFINITIONS["ring"], WORK, str(run_id))
            return RunState.CANCELLED
        await db.execute(Q["wish_cancels"], [run_id], reason, False)
        await db.execute(_DEFINITIONS["ring"], CANCEL, f"{tenant} {run_id}")
        return RunState.RUNNING


async def discard_run(store: Store, tenant: str, run_id: UUID) -> None:
    """Say that a dead run is dealt with.

    Raises:
        NotFoundError: there is no such run.
        ConflictError: it is no dead run.
    """
    async with store.transaction() as db:
        run = await _lock_run(db, tenant, run_id)
        if run["state"] != RunState.FAILED:
            raise ConflictError(f"run {run_id} is {run['state']}: only a failed run can be discarded")
        if run["discarded_at"] is not None or run["retried_by"] is not None:
            word = "discarded" if run["retried_by"] is None else "retried"
            raise ConflictError(f"run {run_id} was {word} already")
        if await db.fetchval(Q["discard_run"], run_id) is None:
            await db.execute(Q["discard_past_run"], run_id)
        done = Change(AuditAction.DISCARD, AuditKind.RUN, str(run_id), {"job": run["job_name"]})
        await record_changes(db, store.by, tenant, [done])


async def make_owed_due(store: Store) -> MadeDue:
    """Have everything owed said again at once, after the broker lost its messages."""
    async with store.transaction() as db:
        [row] = await db.fetch(Q["make_owed_due"])
        await db.execute(_DEFINITIONS["ring"], WORK, "")
        done = Change(AuditAction.REBUILD, AuditKind.BROKER, store.name, after=dict(row))
        await record_changes(db, store.by, store.by.tenant, [done])
    return MadeDue(**row)


async def _change_job(
    store: Store,
    tenant: str,
    done: Change,
    change: tuple[Any, ...],
    clock: Clock,
    held_until: datetime | None = None,
) -> bool:
    async with store.transaction() as db:
        await db.execute(_DEFINITIONS["lock_tenant"], tenant)  # before its jobs, as an apply does
        job = await db.fetchrow(Q["lock_job"], tenant, done.name)
        if job is None:
            raise NotFoundError(f"there is no job {done.name}")
        query, *arguments = change
        changed = await db.fetchval(Q[query], job["id"], *arguments) is not None
        if changed:
            await record_changes(db, store.by, tenant, [done])
            await _changed(db, tenant, [job["id"]], clock, held_until)
        return changed


async def _change_tenant(store: Store, tenant: str, action: AuditAction, change: tuple[str, ...], clock: Clock) -> bool:
    query, *arguments = change
    async with store.transaction() as db:
        changed = await db.fetchval(Q[query], tenant, *arguments) is not None
        if changed:
            await record_changes(db, store.by, tenant, [Change(action, AuditKind.TENANT, tenant)])
            await _changed(db, tenant, None, clock)
        return changed


async def _changed(
    db: "Connection", tenant: str, jobs: list[UUID] | None, clock: Clock, held_until: datetime | None = None
) -> None:
    now = clock.now()
    await db.execute(_DEFINITIONS["activate_triggers"], tenant, jobs, held_until or now)
    await db.execute(_DEFINITIONS["take_back"], tenant, jobs, now)
    await db.execute(_DEFINITIONS["count_revision"], tenant)
    await db.execute(_DEFINITIONS["ring"], DEFINITIONS, tenant)


def _triggered(asked: Asked, params: Mapping[str, Any] | None) -> Change:
    after = {"firing": str(asked.firing_id), **names_of(params)}
    return Change(AuditAction.TRIGGER, AuditKind.JOB, asked.job, after=after)


async def _lock_run(db: "Connection", tenant: str, run_id: UUID) -> "asyncpg.Record":
    """Return a run, at hand or in history, that nobody else asks anything of meanwhile."""
    run = await db.fetchrow(Q["lock_run"], run_id, tenant)
    if run is None:
        await db.execute(Q["lock_past_run"], run_id)
        run = await db.fetchrow(Q["find_past_run"], run_id, tenant)
    if run is None:
        raise NotFoundError(f"there is no run {run_id}")
    return run


async def _ask(
    db: "Connection",
    tenant: str,
    kind: FiringKind,
    jobs: Sequence[Mapping[str, Any]],
    data: Mapping[str, Any],
    *,
    clock: Clock,
) -> list[Asked]:
    """Record who asked for what, and a firing of each job."""
    now = clock.now()
    event_id = uuid7(clock)
    ids = [uuid7(clock) for _ in jobs]
    await db.execute(Q["insert_event"], event_id, tenant, _TOPICS[kind], data)
    retry_of = UUID(data["run"]) if kind is FiringKind.RETRY else None
    wall = now.replace(tzinfo=None).isoformat()
    await db.execute(
        Q["insert_firings"],
        *(tenant, kind.value, event_id, now, wall),
        data["params"],
        retry_of,
        ids,
        [job["id"] for job in jobs],
        [job["version"] for job in jobs],
        data.get("traceparent"),
    )
    await db.execute(_DEFINITIONS["ring"], WORK, "")
    return [Asked(firing_id, job["name"]) for firing_id, job in zip(ids, jobs, strict=True)]
