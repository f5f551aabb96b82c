"""Releases the instants of backfills, so many that no more than ``max_parallel`` of their runs are open.

Durable and driven by nobody in particular: the row has the cursor, each end of a run owes the step
that releases the next, and the sweep finds a backfill that was forgotten.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from scheduler.domain.backfill import version_at, whole_downstream
from scheduler.domain.flow import NO_RUNS, FlowPlan, plan_flow
from scheduler.domain.gates import JobEntry
from scheduler.store.catalogue import Catalogue, TenantJobs
from scheduler.store.flow_rows import complete, start_flows
from scheduler.store.queries import queries
from scheduler.store.stores import Store
from schemas.vocabulary import FiringKind, Priority, RunState

if TYPE_CHECKING:
    import asyncpg

    from scheduler.store.pool import Connection

Q: Final = queries("backfills")
_AT_ONCE: Final = 100

Versions = Mapping[UUID, Sequence[tuple[datetime, int]]]


class Backfilling:
    """Releases instants in one store."""

    def __init__(self, catalogue: Catalogue, new_id: Callable[[], UUID]) -> None:
        self._catalogue = catalogue
        self._new_id = new_id

    async def release(self, store: Store, backfill_id: UUID) -> set[str]:
        """Start the next runs of a backfill; return the pools that got work. Harmless when there is nothing to do.

        A disabled job or a suspended tenant holds it back, a deleted job ends it; a pause is for the clock.
        """
        pools: set[str] = set()
        async with store.transaction(flush=False) as db:
            row = await db.fetchrow(Q["lock_backfill"], backfill_id)
            if row is None:
                return pools
            running: int = await db.fetchval(Q["count_open"], backfill_id)
            tenants = await self._catalogue.current(db, {row["tenant"]: row["revision"]})
            jobs = tenants[row["tenant"]]
            job = jobs.by_id.get(row["job_id"])
            if job is None:
                await db.execute(Q["cancel"], backfill_id, "the job was deleted")
            over = job is None or row["cancelled_at"] is not None or row["released"] == row["instants"]
            released = row["released"]
            if job is not None and job.enabled and not job.suspended and not over:
                room = min(row["max_parallel"] - running, _AT_ONCE)
                instants = await db.fetch(Q["next_instants"], backfill_id, released, max(0, room))
                pools = await self._start(db, row, job, jobs, instants)
                released += len(instants)
            if over and not running:
                await db.execute(Q["finish"], backfill_id)
            else:
                await db.execute(Q["move_on"], backfill_id, released)
        return pools

    async def _start(
        self,
        db: "Connection",
        row: "asyncpg.Record",
        job: JobEntry,
        jobs: TenantJobs,
        instants: Sequence["asyncpg.Record"],
    ) -> set[str]:
        if not instants:
            return set()
        started: list[tuple[dict[str, Any], FlowPlan]] = []
        versions = await self._versions(db, jobs.downstream(job))
        for instant in instants:
            firing = {
                "id": instant["firing_id"],
                "tenant": row["tenant"],
                "kind": FiringKind.TIME,
                "job_id": job.id,
                "fires_at": instant["fires_at"],
                "params": instant["params"],
                "retry_of": None,
            }
            plan = await self._plan(db, row, job, jobs, versions, instant)
            complete(firing, plan)
            started.append((firing, plan))
        await start_flows(db, started)
        positions = [instant["position"] for instant in instants]
        await db.execute(Q["set_runs"], row["id"], positions, [plan.runs[0].id for _, plan in started])
        return {plan.runs[0].job.spec.pool for _, plan in started if plan.runs[0].state is RunState.READY}

    async def _plan(
        self,
        db: "Connection",
        row: "asyncpg.Record",
        job: JobEntry,
        jobs: TenantJobs,
        versions: Versions,
        instant: "asyncpg.Record",
    ) -> FlowPlan:
        """Plan the flow of one instant by the definitions in force then, as far as it is whole."""
        wanted = {
            follower.id: version_at(versions[follower.id], instant["fires_at"])[0] for follower in jobs.downstream(job)
        }
        specs = await self._catalogue.versions(db, [*wanted.items(), (job.id, instant["job_version"])])
        priority = list(Priority)[row["priority"]]

        def entry(of: JobEntry, version: int) -> JobEntry:
            spec = specs[of.id, version].model_copy(update={"priority": priority})
            return JobEntry(of.id, of.name, version, of.enabled, of.paused, spec, of.suspended)

        root = entry(job, instant["job_version"])
        followers = [entry(follower, wanted[follower.id]) for follower in jobs.downstream(job)]
        whole = whole_downstream(job.name, followers)
        plan = plan_flow(root, whole, NO_RUNS, jobs.ids_by_name, self._new_id)
        plan.backfill_id = row["id"]
        # It has a parallelism of its own: it waits for no other run of the job, and none waits for it.
        plan.runs[0].turn = None
        plan.runs[0].has_downstream = True
        plan.owe_ends(jobs.watching.jobs)
        return plan

    @staticmethod
    async def _versions(db: "Connection", downstream: Sequence[JobEntry]) -> Versions:
        found: dict[UUID, list[tuple[datetime, int]]] = {}
        if downstream:
            for row in await db.fetch(Q["list_versions"], [job.id for job in downstream]):
                found.setdefault(row["job_id"], []).append((row["applied_at"], row["version"]))
        return found


async def find_due_backfills(store: Store, limit: int) -> Sequence[UUID]:
    """Return open backfills that nobody has looked at for a while."""
    async with store.connection() as db:
        return [row["id"] for row in await db.fetch(Q["list_due"], limit)]


async def postpone_backfill(store: Store, backfill_id: UUID) -> None:
    """Look at a backfill that cannot be dealt with again when it is twice as old, at most an hour from now."""
    async with store.connection() as db:
        await db.execute(Q["postpone"], backfill_id)
