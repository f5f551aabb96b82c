"""The keys that jobs and triggers take in Python, under the names they have in a definitions file.

What each means, and its default, is in docs/definitions.md. They are plain mappings: they are
checked when the module is read as definitions, with the file and line of the function.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, TypedDict

Span = str | timedelta
"""A duration: ``"1h30m"``, or a timedelta."""
Moment = str | datetime
"""A time: aware, or a wall time in the trigger's time zone."""
Trigger = dict[str, Any]
"""What the functions cron, every, on_event and their like return: an entry of ``triggers``."""


class Retry(TypedDict, total=False):
    """Further attempts: ``Retry(attempts=3, initial="10s", on=[ConnectionError, "timeout"])``."""

    attempts: int
    backoff: Literal["exponential", "linear", "fixed"]
    initial: Span
    factor: float
    max: Span
    jitter: float
    on: Sequence[int | str | type[BaseException]]
    not_on: Sequence[int | str | type[BaseException]]


class Concurrency(TypedDict, total=False):
    """At most ``limit`` runs with the same ``key`` at once: ``Concurrency(key="copy-{{ params.host }}", limit=2)``."""

    key: str
    limit: int


class Unique(TypedDict, total=False):
    """No second run with the same ``key``: ``Unique(key="{{ params.order }}", within="1h")``."""

    key: str
    within: Span
    on_duplicate: Literal["drop", "join"]


class Timeout(TypedDict, total=False):
    """Limits in time; a duration alone is ``hard``."""

    soft: Span
    hard: Span
    queue: Span
    grace: Span


class Resources(TypedDict, total=False):
    """What the processes of an attempt may use together; sizes as in ``"512MiB"``."""

    cpu: float | str
    memory: str
    pids: int
    file_size: str
    disk: str
    io: Literal["idle", "low", "normal"]
    network: Literal["none", "host"]


class CatchUp(TypedDict, total=False):
    """Which missed firings are still run."""

    policy: Literal["latest", "all", "none"]
    window: Span
    max: int


class Retention(TypedDict, total=False):
    """How long ended runs are kept: ``Retention(succeeded="7d", failed="90d")``."""

    succeeded: Span
    failed: Span
    cancelled: Span
    skipped: Span


class Dst(TypedDict, total=False):
    """What becomes of wall times that a change of the clock skips or repeats."""

    gap: Literal["run_after", "skip"]
    fold: Literal["first", "second", "both"]


class _NeedKeys(TypedDict):
    job: str | Callable[..., Any]


class Need(_NeedKeys, total=False):
    """An upstream job, by name or as its function, and which end of it is waited for."""

    when: Literal["succeeded", "failed", "finished", "skipped"]
    delay: Span


class Secret(TypedDict, total=False):
    """Where the executor finds a secret: exactly one of the two."""

    env: str
    file: str


class _EveryTriggerKeys(TypedDict, total=False):
    id: str
    timezone: str
    params: Mapping[str, Any]
    starts_at: Moment
    ends_at: Moment
    max_fires: int
    enabled: bool


class Collect(TypedDict):
    """One run for at most ``max`` events, ``within`` so long after the first: ``Collect(max=100, within="5s")``."""

    max: int
    within: Span


class SimpleEventKeys(_EveryTriggerKeys, total=False):
    """The keys that every trigger has which waits for events, or for their absence."""

    where: str


class EventKeys(SimpleEventKeys, total=False):
    """The keys of triggers that may fire for less than each event."""

    debounce: Span
    throttle: str
    by: str
    collect: Collect


class TriggerKeys(_EveryTriggerKeys, total=False):
    """The keys that every trigger has which fires by the clock."""

    catch_up: CatchUp
    jitter: Span
    dst: Dst


class JobKeys(TypedDict, total=False):
    """The keys of a job besides its name, what it runs and its triggers."""

    description: str
    params: Mapping[str, Any]
    params_schema: Mapping[str, Any]
    needs: Sequence[str | Need | Callable[..., Any]]
    needs_rule: Literal["all", "any"]
    timezone: str
    dst: Dst
    catch_up: CatchUp
    overlap: Literal["skip", "queue_one", "queue_all", "cancel_previous", "kill_previous", "allow"]
    max_running: int
    concurrency: Concurrency
    rate: str
    unique: Unique
    priority: Literal["critical", "high", "normal", "low", "background"]
    pool: str
    labels: Mapping[str, str]
    timeout: Span | Timeout
    retry: Retry
    on_lost: Literal["rerun", "fail"]
    on_lost_contact: Literal["continue", "kill"]
    pause_after: int
    max_runs_per_process: int
    metrics: Sequence[str]
    isolation: Literal["inline", "thread", "process", "sandbox"]
    resources: Resources
    env: Mapping[str, str]
    secrets: Mapping[str, Secret]
    cwd: str
    retention: Retention
    enabled: bool
    tags: Sequence[str]
    owner: str


class FileKeys(TypedDict, total=False):
    """What may stand beside the jobs of a definitions file."""

    tenant: str
    source: str
    defaults: JobKeys
    chains: Mapping[str, Sequence[str]]
    calendars: Mapping[str, Mapping[str, Any]]
    webhooks: Mapping[str, Mapping[str, Any]]
    pools: Mapping[str, Mapping[str, Any]]
