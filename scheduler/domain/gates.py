"""The gate at a firing: what becomes of it, and why. Every verdict of the Dispatcher is made here."""

from dataclasses import dataclass
from uuid import UUID

from schemas.job_spec import JobSpec
from schemas.vocabulary import FiringKind, OnDuplicate, OverlapPolicy, Verdict


@dataclass(frozen=True, slots=True)
class JobEntry:
    """A job as it stands now: its newest definition and whether it may start."""

    id: UUID
    name: str
    version: int
    enabled: bool
    paused: bool
    spec: JobSpec
    suspended: bool = False
    """Its tenant is."""


@dataclass(frozen=True, slots=True)
class Activity:
    """How many runs of a job are active, the oldest of them, and the last of those that wait for their turn."""

    active: int = 0
    oldest: UUID | None = None
    last_waiting: UUID | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict on one firing; ``blocking_run_id`` names the run in the way.

    ``waits``: the firing is started, and its run waits for its turn.
    """

    verdict: Verdict
    reason: str | None = None
    blocking_run_id: UUID | None = None
    waits: bool = False

    @property
    def joined_run_id(self) -> UUID | None:
        """The run that stands for the firing, where another firing has started it."""
        return self.blocking_run_id if self.verdict is Verdict.JOINED else None


STARTED = Decision(Verdict.STARTED)
TOO_LATE = Decision(Verdict.MISFIRED, "nobody decided it within its catch-up window")


def decide(kind: FiringKind, job: JobEntry | None, activity: Activity, twin: UUID | None = None) -> Decision:
    """Decide one firing of ``job`` (None: deleted meanwhile), of which ``activity`` is going on.

    ``twin`` is the run that it would repeat (``unique``); only a person's retry may.

    A pause holds back the clock and events; a person may still start a paused job by hand. A disabled job,
    and a job of a suspended tenant, starts by nothing. Overlap is judged for people as for the clock. A
    pure function: whoever calls it with a clock of its own lets the run of a decision that ``waits``
    start when fewer than max_running are active and none is before it; with cancel_previous and
    kill_previous the run takes the place of one that waits already, and the oldest active run is ended for it.
    """
    if job is None:
        return Decision(Verdict.SUPERSEDED, "the job was deleted")
    if job.suspended:
        return Decision(Verdict.TENANT_SUSPENDED, "the tenant is suspended")
    if not job.enabled:
        return Decision(Verdict.PAUSED, "the job is disabled")
    if job.paused and kind in {FiringKind.TIME, FiringKind.EVENT}:
        return Decision(Verdict.PAUSED, "the job is paused")
    if twin is not None and kind is not FiringKind.RETRY and (unique := job.spec.unique) is not None:
        joins = unique.on_duplicate is OnDuplicate.JOIN
        return Decision(Verdict.JOINED if joins else Verdict.DUPLICATE, f"run {twin} has the same unique.key", twin)
    return _overlap(job.spec.overlap, job.spec.max_running, activity)


def _overlap(policy: OverlapPolicy, most: int | None, activity: Activity) -> Decision:
    waiting = activity.last_waiting if policy.takes_turns else None
    if most is None or (activity.active < most and waiting is None):
        return STARTED
    if policy is OverlapPolicy.SKIP:
        more = f"; {activity.active} are, at most {most} may be" if most > 1 else ""
        return Decision(Verdict.SKIPPED_OVERLAP, f"run {activity.oldest} is active{more}", activity.oldest)
    if policy is OverlapPolicy.QUEUE_ONE and waiting is not None:
        return Decision(Verdict.SKIPPED_OVERLAP, f"run {waiting} waits for its turn already", waiting)
    ends = policy in {OverlapPolicy.CANCEL_PREVIOUS, OverlapPolicy.KILL_PREVIOUS}
    before = activity.oldest if ends or waiting is None else waiting
    return Decision(Verdict.STARTED, f"waits for run {before} (overlap {policy})", before, waits=True)
