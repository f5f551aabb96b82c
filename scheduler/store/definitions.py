"""Applies definitions: one transaction, after which the rows say what the files say.

Cursor and ledger of a trigger survive edits of everything else. A trigger whose times changed is
planned anew from the moment of the change; what was due of the old times and not planned yet is
one row in the ledger, ``superseded``, like what pacing holds of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol
from uuid import UUID

from scheduler.clock import Clock
from scheduler.domain.audit import By
from scheduler.domain.calendar_sources import resolve_calendars
from scheduler.domain.dag import Graph
from scheduler.domain.zones import TZDATA_VERSION
from scheduler.errors import ConflictError
from scheduler.ids import uuid7
from scheduler.store.audit import record_changes
from scheduler.store.calendar_rows import CalendarChange, CalendarRows
from scheduler.store.definition_changes import calendar_changes, deletions, job_changes, webhook_changes
from scheduler.store.doorbell import DEFINITIONS, WORK
from scheduler.store.pools import write_pools
from scheduler.store.queries import queries
from scheduler.store.quotas import check_apply
from scheduler.store.stores import Store
from scheduler.store.trigger_rows import Planner, TriggerRow
from scheduler.store.webhooks import WebhookChanges, apply_webhooks
from schemas.calendar_spec import CalendarSpec
from schemas.definitions_file import PoolSpec
from schemas.job_spec import JobSpec
from schemas.webhook_spec import WebhookSpec

if TYPE_CHECKING:
    import asyncpg

    from scheduler.store.pool import Connection

Q: Final = queries("definitions")
_MARK_MIXED: Final = queries("zone_data")["mark_mixed"]


class Wanted(Protocol):
    """What is to be: scheduler.definitions.Definitions, or the like."""

    @property
    def tenant(self) -> str: ...
    @property
    def source(self) -> str | None: ...
    @property
    def jobs(self) -> Mapping[str, JobSpec]: ...
    @property
    def pools(self) -> Mapping[str, PoolSpec]: ...
    @property
    def calendars(self) -> Mapping[str, CalendarSpec]: ...
    @property
    def webhooks(self) -> Mapping[str, WebhookSpec]: ...


@dataclass(frozen=True, slots=True)
class ApplyResult:
    """Names of jobs by what became of them; each list is sorted."""

    created: list[str] = field(default_factory=list)
    """New, or deleted before and back."""
    changed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    pools: list[str] = field(default_factory=list)
    """Pools made or changed: `broker declare` makes their queues."""
    calendars: list[CalendarChange] = field(default_factory=list)
    """Calendars made or changed, by name, and which firings that moves."""
    removed_calendars: list[str] = field(default_factory=list)
    webhooks: WebhookChanges = field(default_factory=WebhookChanges)


@dataclass(frozen=True, slots=True)
class _Job:
    id: UUID
    name: str
    version: int
    spec: JobSpec
    enabled: bool
    is_new: bool
    has_new_version: bool


async def apply(store: Store, wanted: Wanted, *, prune: bool, clock: Clock) -> ApplyResult:
    """Make the tenant's jobs those of ``wanted``; all or nothing.

    ``prune`` deletes jobs that the same source applied before and does not name any more. A job
    that is unchanged keeps what people did to it (pause, disable).

    Raises:
        ConflictError: a job's pool does not exist, a job that stays needs one that goes, or a quota forbids it.
        DefinitionsError: a trigger that stays uses a calendar or a webhook that goes.
        DatabaseUnavailableError: try again.
    """
    if wanted.pools and store.apart:
        raise ConflictError(f"pools are the operator's: a file of tenant {wanted.tenant} may not set them")
    resolved = resolve_calendars(wanted.calendars, wanted.jobs.values())
    async with store.transaction() as db:
        await db.execute(Q["lock_tenant"], wanted.tenant)
        calendars = await CalendarRows.lock(db, wanted.tenant)
        await calendars.write(wanted.calendars, resolved, wanted.source)
        pools = await _apply_pools(db, store.by, wanted)
        specs = {name: spec.model_dump(mode="json") for name, spec in wanted.jobs.items()}
        held = await db.fetch(Q["lock_all_jobs"], wanted.tenant, list(specs), list(specs.values()))
        known = {row["name"]: row for row in held}
        gone = [row for row in held if prune and _pruned(row, wanted.source)]
        _check_graph(wanted.jobs, held, {row["name"] for row in gone})
        moved = [
            job for name, spec in wanted.jobs.items() if (job := _moved(known.get(name), name, spec, clock)) is not None
        ]
        kept = {row["name"] for row in held if not row["deleted"]} - {row["name"] for row in gone}
        await check_apply(db, wanted.tenant, len(kept | wanted.jobs.keys()), grows=bool(moved))
        unchanged = sorted(wanted.jobs.keys() - {job.name for job in moved})
        await db.execute(Q["adopt_jobs"], wanted.source, [known[name]["id"] for name in unchanged])
        if moved or gone or calendars.changes:
            await _write_jobs(db, wanted, moved, specs)
            await _write_triggers(db, wanted.tenant, moved, known, calendars.planner(clock))
            await _delete(db, wanted.tenant, gone, calendars.planner(clock))
            await calendars.move_triggers(clock.now())
        removed_calendars = await calendars.remove(wanted.source, resolved, prune=prune)
        webhooks = await apply_webhooks(db, wanted.tenant, wanted.webhooks, wanted.source, prune=prune)
        done = [*job_changes(wanted, known, moved, specs), *deletions(gone), *webhook_changes(wanted, webhooks)]
        done += calendar_changes(wanted, calendars, removed_calendars)
        await record_changes(db, store.by, wanted.tenant, done)
        if moved or gone or pools or calendars.changes or removed_calendars or webhooks:
            await _end_unneeded(db, wanted.tenant)
            await db.execute(Q["count_revision"], wanted.tenant)
            await db.execute(Q["ring"], DEFINITIONS, wanted.tenant)
    return ApplyResult(
        created=sorted(job.name for job in moved if job.is_new),
        changed=sorted(job.name for job in moved if not job.is_new),
        unchanged=unchanged,
        removed=sorted(row["name"] for row in gone),
        pools=pools,
        calendars=list(calendars.changes.values()),
        removed_calendars=removed_calendars,
        webhooks=webhooks,
    )


async def delete_job(store: Store, tenant: str, name: str, *, clock: Clock) -> None:
    """Delete a job softly: it fires no more, runs under way go on, its ledger stays.

    Raises:
        ConflictError: another job needs it.
    """
    async with store.transaction() as db:
        await db.execute(Q["lock_tenant"], tenant)
        held = await db.fetch(Q["lock_all_jobs"], tenant, [], [])
        gone = [row for row in held if row["name"] == name and not row["deleted"]]
        _check_graph({}, held, {name})
        calendars = await CalendarRows.lock(db, tenant)
        await _delete(db, tenant, gone, calendars.planner(clock))
        await record_changes(db, store.by, tenant, deletions(gone))
        await _end_unneeded(db, tenant)
        await db.execute(Q["count_revision"], tenant)
        await db.execute(Q["ring"], DEFINITIONS, tenant)


async def list_pools(store: Store) -> dict[str, int]:
    """Return the queue limit of each pool."""
    async with store.connection() as db:
        return {row["name"]: row["queue_limit"] for row in await db.fetch(Q["list_pools"])}


async def list_definitions(store: Store, tenant: str) -> dict[str, tuple[str | None, JobSpec]]:
    """Return source and definition of every job of ``tenant``, by name."""
    async with store.connection() as db:
        rows = await db.fetch(Q["list_current"], tenant)
    return {row["name"]: (row["source"], JobSpec.model_validate(row["spec"])) for row in rows}


async def _apply_pools(db: "Connection", by: By, wanted: Wanted) -> list[str]:
    changed = await write_pools(db, by, wanted.pools)
    users = {spec.pool: name for name, spec in wanted.jobs.items()}
    for row in await db.fetch(Q["list_unknown_pools"], list(users)):
        pool = row["name"]
        raise ConflictError(f"job {users[pool]}: there is no pool {pool}; make it: scheduler pool set {pool}")
    return sorted(changed)


def _pruned(row: "asyncpg.Record", source: str | None) -> bool:
    return source is not None and row["source"] == source and not row["wanted"] and not row["deleted"]


def _check_graph(jobs: Mapping[str, JobSpec], held: Sequence["asyncpg.Record"], gone: set[str]) -> None:
    """Refuse needs that would point to nothing or in a circle, over all sources of the tenant."""
    needs: dict[str, list[str]] = {
        row["name"]: [need["job"] for need in row["spec"].get("needs", ())]
        for row in held
        if not row["deleted"] and row["name"] not in gone
    }
    needs |= {name: [need.job for need in spec.needs] for name, spec in jobs.items()}
    for name, upstream in needs.items():
        for missing in (need for need in upstream if need not in needs):
            raise ConflictError(f"job {name} needs {missing}, which would not be there")
    if cycles := Graph(needs).cycles():
        raise ConflictError(f"jobs would wait for one another: {' → '.join(cycles[0])}")


def _moved(row: "asyncpg.Record | None", name: str, spec: JobSpec, clock: Clock) -> _Job | None:
    """Return the job as it is to be, or None when nothing of it changes."""
    if row is None:
        return _Job(uuid7(clock), name, 1, spec, spec.enabled, is_new=True, has_new_version=True)
    if not row["differs"] and not row["deleted"]:
        return None
    switched = row["deleted"] or spec.enabled != row["spec"].get("enabled", True)
    return _Job(
        row["id"],
        name,
        row["version"] + row["differs"],
        spec,
        spec.enabled if switched else row["enabled"],
        is_new=row["deleted"],
        has_new_version=row["differs"],
    )


async def _write_jobs(db: "Connection", wanted: Wanted, moved: Sequence[_Job], specs: Mapping[str, Any]) -> None:
    new = [job for job in moved if job.version == 1 and job.has_new_version]
    old = [job for job in moved if not (job.version == 1 and job.has_new_version)]
    await db.execute(
        Q["insert_jobs"],
        wanted.tenant,
        wanted.source,
        [job.id for job in new],
        [job.name for job in new],
        [job.enabled for job in new],
    )
    await db.execute(
        Q["update_jobs"],
        wanted.source,
        [job.id for job in old],
        [job.version for job in old],
        [job.enabled for job in old],
    )
    versions = [job for job in moved if job.has_new_version]
    await db.execute(
        Q["insert_versions"],
        wanted.tenant,
        [job.id for job in versions],
        [job.version for job in versions],
        [specs[job.name] for job in versions],
    )


async def _write_triggers(
    db: "Connection", tenant: str, moved: Sequence[_Job], known: Mapping[str, "asyncpg.Record"], planner: Planner
) -> None:
    ids = [job.id for job in moved]
    rows: dict[UUID, list[TriggerRow]] = {}
    for record in await _lock_triggers(db, tenant, ids, planner):
        rows.setdefault(record["job_id"], []).append(TriggerRow(**record))
    for job in moved:
        before = known.get(job.name)
        old_zone = before["spec"].get("timezone", "UTC") if before is not None else ""
        planner.replan(job.id, job.name, job.version, job.spec, rows.get(job.id, ()), old_zone=old_zone)
    await db.execute(Q["upsert_triggers"], tenant, *planner.written())
    await db.execute(_MARK_MIXED, TZDATA_VERSION)
    await _give_up(db, tenant, ids, planner)


async def _lock_triggers(
    db: "Connection", tenant: str, jobs: Sequence[UUID], planner: Planner
) -> Sequence["asyncpg.Record"]:
    """Lock the triggers of jobs that change, without what was written down of them before its instant."""
    held = await db.fetch(Q["lock_triggers"], jobs)
    taken = await db.fetch(Q["take_back"], tenant, jobs, planner.now)
    return await db.fetch(Q["lock_triggers"], jobs) if taken else held


async def _give_up(db: "Connection", tenant: str, jobs: Sequence[UUID], planner: Planner) -> None:
    """Remove triggers, account for what nobody will start any more, and switch the others on or off."""
    await db.execute(Q["remove_triggers"], planner.removed, planner.now)
    await db.execute(Q["record_superseded"], tenant, *planner.superseded())
    await db.execute(Q["supersede_held"], *planner.outdated())
    await db.execute(Q["activate_triggers"], tenant, jobs, planner.now)


async def _end_unneeded(db: "Connection", tenant: str) -> None:
    """Skip waiting runs that the new definitions leave without an end, and have their DAG steps done."""
    if await db.fetch(Q["skip_unneeded"], tenant):
        await db.execute(Q["ring"], WORK, "")


async def _delete(db: "Connection", tenant: str, gone: Sequence["asyncpg.Record"], planner: Planner) -> None:
    ids = [row["id"] for row in gone]
    held = {row["id"]: row for row in gone}
    for record in await _lock_triggers(db, tenant, ids, planner):
        job = held[record["job_id"]]
        planner.remove(TriggerRow(**record), job["name"], job["version"], job["spec"].get("timezone", "UTC"))
    await db.execute(Q["delete_jobs"], ids)
    await _give_up(db, tenant, ids, planner)
