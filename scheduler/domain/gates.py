"""The gate at a firing: what becomes of it, and why. Every verdict of the Dispatcher is made here."""

from dataclasses import dataclass
from uuid import UUID

from schemas.job_spec import JobSpec
from schemas.vocabulary import FiringKind, OverlapPolicy, Verdict


@dataclass(frozen=True, slots=True)
class JobEntry:
    """A job as it stands now: its newest definition and whether it may start."""

    id: UUID
    name: str
    version: int
    enabled: bool
    paused: bool
    spec: JobSpec


@dataclass(frozen=True, slots=True)
class Activity:
    """How many runs of a job are active, and the oldest of them."""

    active: int = 0
    oldest: UUID | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict on one firing; ``blocking_run_id`` names the run in the way."""

    verdict: Verdict
    reason: str | None = None
    blocking_run_id: UUID | None = None


STARTED = Decision(Verdict.STARTED)


def decide(kind: FiringKind, job: JobEntry | None, activity: Activity) -> Decision:
    """Decide one firing of ``job`` (None: deleted meanwhile), of which ``activity`` is going on.

    A pause holds back the clock; a person may still start a paused job by hand. A disabled job
    starts by nothing. Overlap is judged for people as for the clock.
    """
    if job is None:
        return Decision(Verdict.SUPERSEDED, "the job was deleted")
    if not job.enabled:
        return Decision(Verdict.PAUSED, "the job is disabled")
    if job.paused and kind is FiringKind.TIME:
        return Decision(Verdict.PAUSED, "the job is paused")
    most = job.spec.max_running
    if job.spec.overlap is OverlapPolicy.SKIP and most is not None and activity.active >= most:
        more = f"; {activity.active} are, at most {most} may be" if most > 1 else ""
        return Decision(Verdict.SKIPPED_OVERLAP, f"run {activity.oldest} is active{more}", activity.oldest)
    return STARTED
