"""The metrics of ours, as data: what /metrics shows and docs/metrics.md lists."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple


@dataclass(frozen=True, slots=True)
class Measured:
    """What the rows say. ``values``: name, label, value. ``jobs``: tenant, job, name, value."""

    values: Sequence[tuple[str, str, float]] = ()
    jobs: Sequence[tuple[str, str, str, float]] = ()


class Named(NamedTuple):
    """``source`` is what it is computed from: rows by their name in measuring.sql, or this process's counts."""

    name: str
    kind: Literal["gauge", "counter", "histogram"]
    labels: tuple[str, ...]
    text: str
    source: str


FROM_ROWS: Final = (
    Named("scheduler_schedules", "gauge", ("status",), "Triggers: active, paused (or disabled), deleted.", "schedules"),
    Named("scheduler_runs", "gauge", ("state",), "Runs waiting, ready, queued, running, backing_off; dead.", "runs"),
    Named("scheduler_recent_runs", "gauge", ("state",), "The newest 500 runs, by state.", "recent"),
    Named("scheduler_success_ratio", "gauge", (), "Succeeded of those of the newest 500 runs that ended.", "success"),
    Named("scheduler_run_duration_mean_seconds", "gauge", (), "From claim to end, newest 500 runs.", "duration"),
    Named("scheduler_queue_wait_seconds", "gauge", ("quantile",), "From ready to claim, newest 500 runs.", "wait"),
    Named("scheduler_firing_lag_seconds", "gauge", ("quantile",), "From the instant to its run, newest 500.", "lag"),
    Named("scheduler_backlog_runs", "gauge", ("pool",), "Runs that are ready and not yet offered.", "backlog"),
    Named("scheduler_backlog_age_seconds", "gauge", ("pool",), "How long the oldest of them is ready.", "backlog_age"),
)
JOB_METRIC: Final = Named(
    "scheduler_job_metric", "gauge", ("tenant", "job", "name"), "A declared number of the job's newest run.", "jobs"
)
COUNTED: Final = (
    Named("scheduler_messages_redelivered_total", "counter", ("queue",), "Messages that came again.", "redelivered"),
    Named("scheduler_messages_buried_total", "counter", ("queue",), "Messages put into the dead letters.", "buried"),
    Named("scheduler_attempts_ended_total", "counter", ("outcome",), "Ends of attempts as reported.", "ended"),
    Named("scheduler_requests_denied_total", "counter", ("status",), "Requests refused: 401, 403, 404.", "denied"),
    Named("scheduler_leases_lost_total", "counter", (), "Attempts given up because their lease ran out.", "leases"),
)
DURATION: Final = Named(
    "scheduler_attempt_duration_seconds", "histogram", (), "How long attempts took, as reported.", "durations"
)
ALL: Final = (*FROM_ROWS, JOB_METRIC, *COUNTED, DURATION)
