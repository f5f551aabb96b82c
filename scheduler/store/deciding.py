"""Decides firings: locks them, asks the gate, writes flows, runs, edges and verdicts in one transaction."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from scheduler.domain.flow import FlowPlan, PlannedRun, WaitingRun, plan_flow
from scheduler.domain.gates import TOO_LATE, Activity, Decision, JobEntry, decide
from scheduler.store.catalogue import Catalogue, TenantJobs
from scheduler.store.doorbell import WORK
from scheduler.store.flow_rows import complete, write_flows
from scheduler.store.offering import Filled, Offering, PaceOf
from scheduler.store.queries import queries
from scheduler.store.quotas import Starts
from scheduler.store.said_firings import SaidFirings, said_firings
from scheduler.store.turns import find_last, tend_lines
from scheduler.store.twins import Twins
from schemas.vocabulary import FiringKind, OverlapPolicy, RunState, Turn, Verdict

if TYPE_CHECKING:
    import asyncpg

    from scheduler.store.pool import Connection

Q: Final = queries("flows")
_PUT_OFF: Final = queries("catalogue")["put_off_firings"]
_RING: Final = queries("triggers")["ring"]
Judged = tuple["asyncpg.Record", Decision, FlowPlan | None]


@dataclass(frozen=True, slots=True)
class Decided:
    """What one transaction decided, and what is to be published after it."""

    verdicts: Counter[Verdict] = field(default_factory=Counter)
    filled: Mapping[str, Filled] = field(default_factory=dict)
    """Offers by pool."""
    left: frozenset[str] = frozenset()
    """Pools in whose backlog some of the new runs are."""
    looked_at: int = 0
    """How many firings there were, those that are left undecided for now among them."""
    said: SaidFirings = field(default_factory=SaidFirings)
    """Lines to log after the commit."""


class Deciding:
    """Gives firings their verdicts, and starts the flows of those that pass."""

    def __init__(self, catalogue: Catalogue, offering: Offering, new_id: Callable[[], UUID]) -> None:
        self._catalogue = catalogue
        self._offering = offering
        self._new_id = new_id

    async def decide(self, db: "Connection", firing_ids: Sequence[UUID], pace_of: PaceOf) -> Decided:
        """Decide the firings of ``firing_ids`` that have no verdict yet."""
        return await self._decide(db, await db.fetch(Q["lock_undecided"], firing_ids), pace_of)

    async def decide_ahead(self, db: "Connection", firing_ids: Sequence[UUID], pace_of: PaceOf) -> Decided:
        """Decide those of ``firing_ids`` that start and are offered at once, shortly before their instant.

        The others stay undecided: what holds them back now may be over at their instant, a run in the
        backlog might be offered by anybody before it, and a flow that joins another one may find that it is
        none of those that are written. The offers say when to start: whoever takes one is ready by then.
        """
        return await self._decide(db, await db.fetch(Q["lock_undecided"], firing_ids), pace_of, only_offered=True)

    async def decide_forgotten(self, db: "Connection", limit: int) -> Decided:
        """Decide firings whose message may be lost, or of which nobody was told, oldest first.

        What starts is left to the backlog: there may be many, and their pools are not locked for it.
        """
        return await self._decide(db, await db.fetch(Q["lock_forgotten"], limit), None)

    async def _decide(
        self,
        db: "Connection",
        firings: Sequence["asyncpg.Record"],
        pace_of: PaceOf | None,
        *,
        only_offered: bool = False,
    ) -> Decided:
        if not firings:
            return Decided()
        firings = sorted(firings, key=itemgetter("fires_at"))  # runs wait for their turn in the order they are made
        tenants = await self._catalogue.current(db, {firing["tenant"]: firing["revision"] for firing in firings})
        starts = await Starts.lock(db, tenants)
        decisions = await self._judge(db, await self._put_off(db, firings, tenants), tenants, starts)
        if only_offered:
            decisions = [made for made in decisions if made[2] is not None and not made[2].joins and not made[2].binds]
        roots = [(firing, plan.runs[0]) for firing, _, plan in decisions if plan is not None]
        filled = {} if pace_of is None else await self._offering.offer_new(db, roots, pace_of, ahead=only_offered)
        if only_offered:
            decisions = [made for made in decisions if made[2] is not None and made[2].runs[0].state is RunState.QUEUED]
        await write_flows(db, decisions, 0.0 if pace_of is None else pace_of("").resend_s)
        await starts.spend(db, ((firing["tenant"], plan) for firing, _, plan in decisions if plan is not None))
        left = {root.job.spec.pool for _, root in roots if root.state is RunState.READY}
        if lined := {root.job.id for _, root in roots if root.turn is Turn.AWAITS}:
            left |= await tend_lines(db, lined)
        verdicts = Counter(decision.verdict for _, decision, _ in decisions)
        return Decided(verdicts, filled, frozenset(left), len(firings), said_firings(decisions, tenants))

    async def _judge(
        self, db: "Connection", firings: Sequence["asyncpg.Record"], tenants: Mapping[str, TenantJobs], starts: Starts
    ) -> list[Judged]:
        """Ask the gate about each firing, and plan the flow of each that passes."""
        activity, held = await self._lock_and_count(db, firings, tenants)
        waiting = await self._find_waiting(db, firings, tenants)
        twins = Twins(db)
        decisions: list[Judged] = []
        for firing in firings:
            jobs = tenants.get(firing["tenant"])
            job = _as_held(jobs.by_id.get(firing["job_id"]) if jobs else None, held)
            kind = FiringKind(firing["kind"])
            going_on = activity.get(firing["job_id"], Activity())
            decision = TOO_LATE if firing["is_late"] else decide(kind, job, going_on, await twins.find(firing, job))
            decision = starts.judge(firing["tenant"], decision)
            plan = None
            if jobs and job and decision.verdict is Verdict.STARTED:
                plan = plan_flow(job, jobs.downstream(job), waiting, jobs.ids_by_name, self._new_id)
                complete(firing, plan)
                if jobs.watching.jobs:
                    plan.owe_ends(jobs.watching.jobs)
                if decision.waits:
                    plan.runs[0].wait(decision.reason)
                _count_in(plan, activity, waiting)
                twins.note(plan)
                starts.note(firing["tenant"], plan)
            decisions.append((firing, decision, plan))
        return decisions

    @staticmethod
    async def _put_off(
        db: "Connection", firings: Sequence["asyncpg.Record"], tenants: Mapping[str, TenantJobs]
    ) -> Sequence["asyncpg.Record"]:
        """Leave those undecided whose definition, or one their flow reaches, cannot be read; return the others."""
        whys = {
            firing["id"]: why
            for firing in firings
            if (jobs := tenants.get(firing["tenant"])) and (why := jobs.obstacle(firing["job_id"]))
        }
        if not whys:
            return firings
        await db.execute(_PUT_OFF, list(whys), list(whys.values()))
        return [firing for firing in firings if firing["id"] not in whys]

    async def _lock_and_count(
        self, db: "Connection", firings: Iterable["asyncpg.Record"], tenants: Mapping[str, TenantJobs]
    ) -> tuple[dict[UUID, Activity], dict[UUID, "asyncpg.Record"]]:
        """Lock the jobs whose runs are to be counted or joined; return their active runs and the jobs as locked."""
        limited: dict[UUID, JobEntry] = {}
        shared: set[UUID] = set()
        for firing in firings:
            jobs = tenants.get(firing["tenant"])
            job = jobs.by_id.get(firing["job_id"]) if jobs else None
            if jobs is None or job is None:
                continue
            if job.spec.overlap is not OverlapPolicy.ALLOW:
                limited[job.id] = job
            elif job.spec.unique is not None:
                shared.add(job.id)
            shared.update(follower.id for follower in jobs.downstream(job))
        held: dict[UUID, asyncpg.Record] = {}
        if limited or shared:
            held = {row["id"]: row for row in await db.fetch(Q["lock_jobs"], sorted(limited.keys() | shared))}
        return await _count(db, limited) if limited else {}, held

    async def _find_waiting(
        self, db: "Connection", firings: Iterable["asyncpg.Record"], tenants: Mapping[str, TenantJobs]
    ) -> dict[UUID, list[WaitingRun]]:
        """Return, by job, the waiting runs that the flows of ``firings`` might join.

        Only a flow with a job of several needs can find any; there all its jobs count, because
        one may hang on a run that is joined.
        """
        followers: set[UUID] = set()
        for firing in firings:
            jobs = tenants.get(firing["tenant"])
            job = jobs.by_id.get(firing["job_id"]) if jobs else None
            downstream = jobs.downstream(job) if jobs and job else ()
            if any(len(follower.spec.needs) > 1 for follower in downstream):
                followers.update(follower.id for follower in downstream)
        if not followers:
            return {}
        found: dict[UUID, tuple[UUID, dict[UUID, UUID | None]]] = {}
        for row in await db.fetch(Q["find_joinable"], list(followers)):
            found.setdefault(row["id"], (row["job_id"], {}))[1][row["upstream_job_id"]] = row["upstream_run_id"]
        waiting: dict[UUID, list[WaitingRun]] = {}
        for run_id, (job_id, upstream) in found.items():
            waiting.setdefault(job_id, []).append(WaitingRun(run_id, job_id, upstream))
        return waiting


def _as_held(job: JobEntry | None, held: Mapping[UUID, "asyncpg.Record"]) -> JobEntry | None:
    """Return ``job`` as its lock shows it: it may have been disabled while the lock was waited for."""
    if job is None or (row := held.get(job.id)) is None:
        return job
    if row["deleted"]:
        return None
    return replace(job, enabled=row["enabled"], paused=job.paused or row["paused"])


async def _count(db: "Connection", limited: Mapping[UUID, JobEntry]) -> dict[UUID, Activity]:
    """Return what is going on of the jobs, which are locked; a place that is free already is given away first."""
    found = await _count_active(db, limited)
    lined = [job.id for job in limited.values() if job.spec.overlap.takes_turns]
    last = await find_last(db, lined) if lined else {}
    free = [job_id for job_id in last if found[job_id].active < (limited[job_id].spec.max_running or 0)]
    if free:
        await tend_lines(db, free)
        await db.execute(_RING, WORK, "")
        found |= await _count_active(db, free)
        last = await find_last(db, lined)
    return {job_id: replace(activity, last_waiting=last.get(job_id)) for job_id, activity in found.items()}


async def _count_active(db: "Connection", job_ids: Iterable[UUID]) -> dict[UUID, Activity]:
    ids = list(job_ids)
    rows = {row["job_id"]: row for row in await db.fetch(Q["count_active"], ids)}
    return {
        job_id: Activity(rows[job_id]["active"], rows[job_id]["oldest"]) if job_id in rows else Activity()
        for job_id in ids
    }


def _count_in(plan: FlowPlan, activity: dict[UUID, Activity], waiting: dict[UUID, list[WaitingRun]]) -> None:
    """Let the next firing of the same batch see what this one starts."""
    root = plan.runs[0]
    before = activity.get(root.job.id, Activity())
    if root.turn is Turn.AWAITS:
        activity[root.job.id] = replace(before, last_waiting=root.id)
    elif root.state is not RunState.FAILED:
        activity[root.job.id] = replace(before, active=before.active + 1, oldest=before.oldest or root.id)
    for run_id, need, bound in plan.binds:
        for runs in waiting.values():
            for index, run in enumerate(runs):
                if run.id == run_id:
                    runs[index] = WaitingRun(run.id, run.job_id, {**run.upstream, need: bound})
    if any(planned.needs_unbound for planned in plan.runs):
        for planned in plan.runs:
            if planned.needs_open:
                waiting.setdefault(planned.job.id, []).append(_as_waiting(plan, planned))


def _as_waiting(plan: FlowPlan, run: PlannedRun) -> WaitingRun:
    upstream: dict[UUID, Any] = {e.upstream_job_id: e.upstream_run_id for e in plan.edges if e.run_id == run.id}
    return WaitingRun(run.id, run.job.id, upstream)
