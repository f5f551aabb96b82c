"""Writes what was decided: flows, runs, edges, joins and the verdicts, each kind in one statement."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Union

from scheduler.domain.flow import FlowPlan, PlannedRun
from scheduler.domain.gates import Decision
from scheduler.domain.limits import limit_of, unique_key_of
from scheduler.domain.run_state import FINAL
from scheduler.domain.template import render_native
from scheduler.domain.template_errors import TemplateError
from scheduler.store.pool import json_text
from scheduler.store.queries import columns, queries
from schemas.vocabulary import FiringKind, RunState

if TYPE_CHECKING:
    import asyncpg

    from scheduler.store.pool import Connection

Q: Final = queries("flows")

Firing = Union[Mapping[str, Any], "asyncpg.Record"]
"""A row of ``firings``, or what stands for one: id, tenant, kind, job_id, fires_at, params, retry_of."""
Decided = tuple[Firing, Decision, FlowPlan | None]
Started = tuple[Firing, FlowPlan]
_NO_VERDICTS: Final[tuple[list[Any], ...]] = ([], [], [], [], [])


async def write_flows(db: "Connection", decided: Sequence[Decided], resend_s: float) -> None:
    """Write the flows that start and the verdict of each firing. A flow has the id of its root run."""
    if not decided:
        return
    verdicts = (
        [firing["id"] for firing, _, _ in decided],
        [decision.verdict for _, decision, _ in decided],
        [decision.reason for _, decision, _ in decided],
        [decision.joined_run_id if plan is None else plan.runs[0].id for _, decision, plan in decided],
        [decision.blocking_run_id for _, decision, _ in decided],
    )
    started = [(firing, plan) for firing, _, plan in decided if plan is not None]
    if started:
        await start_flows(db, started, resend_s, verdicts)
    else:
        await db.execute(Q["decide_firings"], *verdicts)


async def start_flows(
    db: "Connection",
    started: Sequence[Started],
    resend_s: float = 0.0,
    verdicts: tuple[list[Any], ...] = _NO_VERDICTS,
) -> None:
    """Write flows with their runs and edges; ``resend_s`` is for runs that are offered as they are written."""
    flows = [(plan.runs[0].id, firing["tenant"], firing["job_id"], firing["id"]) for firing, plan in started]
    runs = [_run_row(firing, run, plan) for firing, plan in started for run in plan.runs]
    await db.execute(Q["start_flows"], *verdicts, *columns(flows), *columns(runs), resend_s)
    traced = [(run.id, trace) for firing, plan in started if (trace := firing.get("traceparent")) for run in plan.runs]
    if traced:
        await db.execute(Q["trace_runs"], *columns(traced))
    stillborn = [(run.id, firing["tenant"], run.job.id, run.state)
                 for firing, plan in started for run in plan.runs if run.state in FINAL]  # fmt: skip
    if stillborn:
        await db.execute(Q["say_stillborn"], *columns(stillborn))
    await _write_edges(db, started)


async def _write_edges(db: "Connection", started: Sequence[Started]) -> None:
    edges = [(e.run_id, e.upstream_job_id, firing["tenant"], e.upstream_run_id, e.condition, e.delay)
             for firing, plan in started for e in plan.edges]  # fmt: skip
    if edges:
        await db.execute(Q["insert_edges"], *columns(edges))
    binds = [bind for _, plan in started for bind in plan.binds]
    if binds:
        await db.execute(Q["bind_edges"], *columns(binds))
        bound = Counter(run_id for run_id, _, _ in binds)
        await db.execute(Q["count_bound"], list(bound), list(bound.values()))
    joined = {run_id for _, plan in started for run_id in plan.joins}
    used = {edge[3] for edge in edges} | {bind[2] for bind in binds}
    if joined & used:
        await db.execute(Q["owe_step"], list(joined & used))
    joins = [(plan.runs[0].id, run_id, firing["tenant"]) for firing, plan in started for run_id in plan.joins]
    if joins:
        await db.execute(Q["insert_joins"], *columns(joins))
    retried = [(plan.runs[0].id, firing["retry_of"]) for firing, plan in started if firing["retry_of"]]
    if retried:
        marked = {row["id"] for row in await db.fetch(Q["mark_retried"], *columns(retried))}
        for run_id, before in retried:
            if before not in marked:  # in history, or retried by another
                await db.execute(Q["mark_past_retried"], run_id, before)


def complete(firing: Firing, plan: FlowPlan) -> None:
    """Give the runs of a flow what depends on the firing: the root its params, each run what limits it."""
    fill_params(firing, plan.runs[0])
    for run in plan.runs:
        if run.state not in {RunState.READY, RunState.WAITING}:
            continue
        facts = {"job": run.job.name, "run_id": run.id, "fired_at": firing["fires_at"], "params": run.params}
        try:
            run.limit = limit_of(run.job.spec, **facts)
            if run is plan.runs[0] and plan.backfill_id is None:
                run.unique_key = unique_key_of(run.job.spec, **facts)
        except TemplateError as error:
            run.state, run.reason, run.limit = RunState.FAILED, str(error), None
            run.needs_open = run.needs_unbound = 0
            plan.edges = [edge for edge in plan.edges if edge.run_id != run.id]


def fill_params(firing: Firing, root: PlannedRun) -> None:
    """Give the root of a flow the params its firing brings, literal from here on.

    Those of a trigger are templates of the definitions file and filled now; what a person gave is
    data, and never read as a template. A trigger's params that cannot be filled fail the run.
    """
    root.params = firing["params"]
    if root.params is None or firing["kind"] != FiringKind.TIME:
        return
    fired_at = firing["fires_at"].isoformat()
    scope = {"run": {"id": str(root.id), "job": root.job.name, "attempt": 1, "fired_at": fired_at}}
    try:
        root.params = render_native(root.params, scope)
    except TemplateError as error:
        root.state, root.reason = RunState.FAILED, f"the trigger's params cannot be filled: {error}"


def _run_row(firing: Firing, run: PlannedRun, plan: FlowPlan) -> tuple[Any, ...]:
    spec = run.job.spec
    queue = spec.timeout.queue
    flow_id = plan.runs[0].id
    root = run.id == flow_id
    return (
        run.id,
        firing["tenant"],
        run.job.id,
        run.job.version,
        run.job.name,
        flow_id,
        firing["id"] if root else None,
        firing["fires_at"],
        run.state,
        spec.pool,
        spec.priority.rank,
        json_text(run.params),
        firing["retry_of"] if root else None,
        run.needs_open,
        run.needs_unbound,
        spec.needs_rule == "any",
        run.has_downstream,
        None if queue is None else queue.total_seconds(),
        run.reason,
        run.lease_token,
        run.turn,
        plan.backfill_id if root else None,
        run.limit.key if run.limit else None,
        run.limit.most if run.limit else None,
        run.unique_key,
    )
