"""Finds the run that a firing would repeat: of the same job, with the same ``unique.key``, within its time."""

from typing import TYPE_CHECKING, Final
from uuid import UUID

from scheduler.domain.flow import FlowPlan, PlannedRun
from scheduler.domain.gates import JobEntry
from scheduler.domain.limits import unique_key_of
from scheduler.domain.template_errors import TemplateError
from scheduler.store.flow_rows import Firing, fill_params
from scheduler.store.queries import queries
from schemas.vocabulary import RunState

if TYPE_CHECKING:
    from scheduler.store.pool import Connection

Q: Final = queries("flows")


class Twins:
    """What one transaction knows of runs with a unique key; it holds their jobs."""

    def __init__(self, db: "Connection") -> None:
        self._db = db
        self._planned: dict[tuple[UUID, str], UUID] = {}

    async def find(self, firing: Firing, job: JobEntry | None) -> UUID | None:
        """Return the newest run that ``firing`` of ``job`` would repeat; None: there is none.

        A key that cannot be filled repeats nothing; the run fails by it.
        """
        if job is None or job.spec.unique is None:
            return None
        trial = PlannedRun(firing["id"], job, RunState.READY)
        fill_params(firing, trial)
        try:
            key = unique_key_of(
                job.spec, job=job.name, run_id=trial.id, fired_at=firing["fires_at"], params=trial.params
            )
        except TemplateError:
            return None
        if key is None or trial.state is RunState.FAILED:
            return None
        within = job.spec.unique.within.total_seconds()
        planned = self._planned.get((job.id, key))
        twin: UUID | None = planned or await self._db.fetchval(Q["find_twin"], job.id, key, within)
        return twin

    def note(self, plan: FlowPlan) -> None:
        """Let the next firing of the same transaction see the run that this one starts."""
        root = plan.runs[0]
        if root.unique_key is not None:
            self._planned[root.job.id, root.unique_key] = root.id
