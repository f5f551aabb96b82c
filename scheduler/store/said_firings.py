"""What the log says of decided firings, as rows for :mod:`scheduler.run_lines`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from scheduler import run_lines, tracing
from scheduler.domain.trace import trace_id_of
from schemas.vocabulary import Verdict

if TYPE_CHECKING:
    from scheduler.store.catalogue import TenantJobs
    from scheduler.store.flow_rows import Decided as Judged

_STARTED: Final = ("tenant", "job_id", "run_id", "trace_id", "firing_id", "kind", "fires_at", "verdict")
_OTHERS: Final = ("tenant", "job_id", "run_id", "firing_id", "kind", "fires_at", "verdict", "reason")
_LOGGER: Final = "dispatcher"


@dataclass(frozen=True, slots=True)
class SaidFirings:
    """Rows of lines, to be written once their transaction is committed."""

    started: Sequence[tuple[Any, ...]] = ()
    others: Sequence[tuple[Any, ...]] = ()
    misfired: Sequence[tuple[Any, ...]] = ()
    traced: Sequence[tuple[Any, ...]] = ()
    """Flow, traceparent, instant, tenant and job of each that starts, where spans are made."""

    def say(self, now: datetime) -> None:
        """Write the lines, and make the spans, of what was decided just now."""
        if (tracer := tracing.current()) is not None:
            for flow_id, given, fires_at, tenant, job in self.traced:
                facts = {"scheduler.tenant": tenant, "scheduler.job": job}
                tracer.firing(flow_id, given, fires_at, now, **facts)
        run_lines.say_plain("firing.decided", _LOGGER, _STARTED, self.started)
        run_lines.say("firing.decided", _LOGGER, _OTHERS, self.others)
        run_lines.say("firing.misfired", _LOGGER, _OTHERS, self.misfired)


def said_firings(judged: Sequence["Judged"], tenants: Mapping[str, "TenantJobs"]) -> SaidFirings:
    """Return the rows of ``judged``: those that start only where each run has lines."""
    each, traces = run_lines.wanted("firing.decided"), tracing.current() is not None
    traced: list[tuple[Any, ...]] = []
    started: list[tuple[Any, ...]] = []
    others: list[tuple[Any, ...]] = []
    misfired: list[tuple[Any, ...]] = []
    for firing, decision, plan in judged:
        if plan is not None:
            if traces:
                name = plan.runs[0].job.name
                traced.append((plan.runs[0].id, firing.get("traceparent"), firing["fires_at"], firing["tenant"], name))
            if each:
                root = plan.runs[0]
                trace = trace_id_of(root.id, firing.get("traceparent"))
                fires_at = firing["fires_at"].isoformat()
                head = (firing["tenant"], root.job.name, root.id, trace)
                started.append((*head, firing["id"], firing["kind"], fires_at, decision.verdict.value))
        elif each or decision.verdict is Verdict.MISFIRED:
            jobs = tenants.get(firing["tenant"])
            job = jobs.by_id.get(firing["job_id"]) if jobs else None
            row = (
                firing["tenant"],
                job.name if job else None,
                decision.joined_run_id,
                firing["id"],
                firing["kind"],
                firing["fires_at"].isoformat(),
                decision.verdict.value,
                decision.reason,
            )
            (misfired if decision.verdict is Verdict.MISFIRED else others).append(row)
    return SaidFirings(started, others, misfired, traced)
