"""One job of the definitions file, as a user writes it and as the database stores it.

A stored JobSpec is resolved: defaults are merged, chains are needs, the time zone is filled in.
Script files stay relative to the code directory. ``model_dump(mode="json")`` is what is stored.
"""

import re
from datetime import timedelta
from functools import cached_property
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from schemas.durations import Duration
from schemas.facts import MetricName
from schemas.json_values import JsonObject
from schemas.labels import Labels
from schemas.limit_spec import ConcurrencySpec, RateField, UniqueSpec
from schemas.message import Name
from schemas.retention_spec import RetentionSpec
from schemas.run_spec import HttpSpec, RunSpec, ScriptSpec
from schemas.sizes import Cores, Size
from schemas.spec_model import SpecModel, StrictBool, StrictInt, Text, Word
from schemas.trigger_model import CatchUpSpec, DstSpec, TimeTriggerModel
from schemas.trigger_spec import AtTrigger, CronTrigger, EveryTrigger, TimeTriggerSpec, TriggerSpec, waits_for_events
from schemas.vocabulary import Backoff, NeedCondition, NeedsRule, OnLost, OnLostContact, OverlapPolicy, Priority
from schemas.work import SecretRef, one_place

_RETRY_WORD: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def _retry_reason(value: object) -> int | str:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and _RETRY_WORD.fullmatch(value):
        return value
    raise ValueError("must be an exit code, an HTTP status, an exception's name, timeout or lost")


EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,254}$")]
RetryReason = Annotated[int | str, BeforeValidator(_retry_reason)]


class NeedSpec(SpecModel):
    """One upstream job, the end of it that is waited for, and how long after that."""

    job: Name
    """The upstream job."""
    when: NeedCondition = NeedCondition.SUCCEEDED
    """The end that is waited for; finished is any."""
    delay: Duration = timedelta(0)
    """How long after that end the job may start."""


class TimeoutSpec(SpecModel):
    """Limits in time. A duration alone is ``hard``."""

    soft: Duration | None = None
    """After this long the attempt is asked to stop (SIGTERM, CancelledError); default: never asked."""
    hard: Duration = timedelta(minutes=30)
    """After this long it is killed."""
    queue: Duration | None = None
    """A run not started this long after it was ready fails; default: it waits."""
    grace: Duration = timedelta(seconds=10)
    """Between the wish to stop and the kill."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.hard:
            raise ValueError("hard must be longer than 0s")
        if self.soft is not None and self.soft >= self.hard:
            raise ValueError("soft must be shorter than hard")
        return self


class ResourcesSpec(SpecModel):
    """What the processes of an attempt may use together."""

    cpu: Cores | None = None
    """A share of one core, or a number of cores: the attempt is slowed down to it."""
    memory: Annotated[Size, Field(ge=4 * 1024**2)] | None = None
    """An attempt that uses more is killed, with outcome out_of_limits."""
    pids: Annotated[StrictInt, Field(ge=1, le=1_000_000)] | None = None
    """How many processes it may have at a time; with more it is killed, with outcome out_of_limits."""
    file_size: Annotated[Size, Field(ge=1024**2)] | None = None
    """No file that it writes may grow larger."""
    disk: Annotated[Size, Field(ge=1024**2)] | None = None
    """What it may keep in its own folder; with more it is killed, with outcome out_of_limits."""
    io: Literal["idle", "low", "normal"] = "normal"
    """Who goes first at the disk, where its queue has priorities; idle: only when nobody else wants it."""
    network: Literal["none", "host"] | None = None
    """With isolation sandbox: none, which is the default there, or that of the executor's machine."""


class RetrySpec(SpecModel):
    """How often a run is tried, and how long it waits in between."""

    attempts: Annotated[StrictInt, Field(ge=1, le=1000)] = 1
    """All attempts, the first one included."""
    backoff: Backoff = Backoff.EXPONENTIAL
    """How the waits grow."""
    initial: Duration = timedelta(seconds=10)
    """The wait before the second attempt."""
    factor: Annotated[float, Field(ge=1, le=100, strict=True)] = 2.0
    """exponential: what each wait is multiplied by."""
    max: Duration = timedelta(minutes=10)
    """No wait is longer."""
    jitter: Annotated[float, Field(ge=0, le=1, strict=True)] = 0.1
    """Share of the wait that is random, in both directions."""
    on: tuple[RetryReason, ...] = ()
    """Try again only for these exit codes, HTTP statuses, exception names, timeout, lost; default: for any."""
    not_on: tuple[RetryReason, ...] = ()
    """Never try again for these."""


def _timeout_of(value: object) -> object:
    return value if isinstance(value, dict | TimeoutSpec) else {"hard": value}


def _need_of(value: object) -> object:
    return {"job": value} if isinstance(value, str) else value


def _with_dst(trigger: TriggerSpec, below: DstSpec) -> TriggerSpec:
    if not isinstance(trigger, TimeTriggerModel):
        return trigger
    return trigger.model_copy(update={"dst": trigger.dst.over(below) if trigger.dst else below})


class JobSpec(SpecModel):
    """A job: what to run, when, and within which limits."""

    description: Text = ""
    """What the job is for, for people."""
    run: RunSpec
    """What to execute: exactly one of command, script, python, http, publish, handler."""
    params: JsonObject = Field(default_factory=dict)
    """Values for templates and for the job itself; overridden by the trigger's and by hand."""
    params_schema: JsonObject | None = None
    """JSON Schema of the params, with those of the trigger or of a person over them."""
    triggers: Annotated[tuple[TriggerSpec, ...], Field(max_length=100)] = ()
    """When the job runs by itself: each entry is of one kind, by time or by events; together they are a union."""
    needs: Annotated[tuple[Annotated[NeedSpec, BeforeValidator(_need_of)], ...], Field(max_length=1000)] = ()
    """Jobs that must end first."""
    needs_rule: NeedsRule = NeedsRule.ALL
    """Whether all needs have to be met, or any one of them."""
    timezone: Text = "UTC"
    """IANA name, for cron, wall times and months."""
    dst: DstSpec | None = None
    """What becomes of wall times that a change of the clock skips or repeats, unless a trigger says it."""
    catch_up: CatchUpSpec = CatchUpSpec()
    """Which missed firings are still run."""
    overlap: OverlapPolicy = OverlapPolicy.SKIP
    """What a firing does while max_running runs are active; allow means no limit, and is the default of a job all of
    whose triggers wait for events."""
    max_running: Annotated[StrictInt, Field(ge=1, le=1_000_000)] | None = None
    """Default 1; not together with overlap: allow, for which it is empty: no limit."""
    concurrency: ConcurrencySpec | None = None
    """At most limit runs with the same key are queued or running at once, over all executors; the others wait."""
    rate: RateField | None = None
    """So many runs start in a time, evenly spread, over all executors; the others wait."""
    unique: UniqueSpec | None = None
    """A firing that comes shortly after another with the same key starts no second run."""
    priority: Priority = Priority.NORMAL
    """Who goes first when runs wait for the same pool; one that waits goes up a class each five minutes."""
    pool: Name = "default"
    """The executors that may take it."""
    labels: Labels = Field(default_factory=dict)
    """Labels that its executor has to have, as in gpu: a100."""
    timeout: Annotated[TimeoutSpec, BeforeValidator(_timeout_of)] = TimeoutSpec()
    """A duration, or soft, hard, queue and grace."""
    retry: RetrySpec = RetrySpec()
    """Further attempts of a run that failed."""
    on_lost: OnLost = OnLost.RERUN
    """What becomes of an attempt whose executor vanished."""
    on_lost_contact: OnLostContact = OnLostContact.CONTINUE
    """kill: an executor ends the attempt when its heartbeats were not recorded for 0.7 of the lease."""
    pause_after: Annotated[StrictInt, Field(ge=1, le=1000)] | None = None
    """So many failed runs in a row pause the job; default: none do."""
    metrics: Annotated[tuple[MetricName, ...], Field(max_length=20)] = ()
    """Names given to ctx.metric that /metrics of the Recorder shows: the last value of each."""
    max_runs_per_process: Annotated[StrictInt, Field(ge=1, le=1_000_000)] | None = None
    """For python: so many runs, and their process is replaced; 1: a fresh one each. Default: as the executor does."""
    isolation: Literal["inline", "thread", "process", "sandbox"] | None = None
    """Default: process for commands, scripts and python; inline for async, thread for sync handlers."""
    resources: ResourcesSpec | None = None
    """Limits of what an attempt uses, for jobs that run in processes; default: none."""
    env: dict[EnvName, Word] = Field(default_factory=dict)
    """The environment of the child, which starts empty; templates are filled in."""
    secrets: dict[EnvName, Annotated[SecretRef, AfterValidator(one_place)]] = Field(default_factory=dict)
    """What the executor reads from its environment or a file: for the child's environment, ctx.secrets, and http."""
    cwd: Annotated[Text, Field(min_length=1)] | None = None
    """Working directory; default: the code directory."""
    retention: RetentionSpec | None = None
    """How long its ended runs are kept; default: as the operator has set."""
    enabled: StrictBool = True
    """false: no firing starts it."""
    tags: tuple[Text, ...] = ()
    """Words to find it by."""
    owner: Text | None = None
    """Whom to ask about it."""

    @model_validator(mode="before")
    @classmethod
    def _fill_max_running(cls, value: Any) -> Any:
        if not isinstance(value, dict) or "max_running" in value or value.get("overlap") == OverlapPolicy.ALLOW:
            return value
        given = value.get("triggers")
        triggers = given if isinstance(given, list | tuple) else ()
        if triggers and "overlap" not in value and all(waits_for_events(trigger) for trigger in triggers):
            return {**value, "overlap": OverlapPolicy.ALLOW}
        return {**value, "max_running": 1}

    @model_validator(mode="after")
    def _place_fits(self) -> Self:
        kind, isolation = self.run.kind, self.isolation
        if kind in {"command", "script"} and isolation not in {None, "process", "sandbox"}:
            raise ValueError(f"isolation: {isolation} is not possible for run: {kind}, only process and sandbox are")
        if kind == "http" and isolation == "sandbox":
            raise ValueError("isolation: sandbox is not possible for run: http, which the executor itself sends")
        if self.resources is not None and not self.in_process:
            raise ValueError(f"resources are limits of processes; run: {kind} needs isolation: process")
        if self.resources is not None and self.resources.network is not None and isolation != "sandbox":
            raise ValueError("resources.network needs isolation: sandbox; other jobs have the network of the machine")
        return self

    @model_validator(mode="after")
    def _keys_fit_together(self) -> Self:
        if self.overlap is OverlapPolicy.ALLOW and self.max_running is not None:
            raise ValueError("max_running has no meaning with overlap: allow; leave one of them out")
        if self.overlap is not OverlapPolicy.ALLOW and self.max_running is None:
            raise ValueError("max_running must be a whole number, at least 1")
        for what, names in (("need", [need.job for need in self.needs]), ("trigger", [t.key for t in self.triggers])):
            if twice := sorted({name for name in names if names.count(name) > 1}):
                hint = "" if what == "need" else "; give each trigger an id of its own"
                raise ValueError(f"the same {what} is given twice: {', '.join(twice)}{hint}")
        signer = None if self.run.http is None else self.run.http.sign_with
        if signer is not None and signer not in self.secrets:
            raise ValueError(f"run.http.sign_with names {signer}, which is not in secrets")
        if both := sorted(self.env.keys() & self.secrets.keys()):
            raise ValueError(f"given in both env and secrets: {', '.join(both)}")
        return self

    @model_validator(mode="after")
    def _triggers_inherit_dst(self) -> Self:
        """Complete the rules of each trigger, so that a trigger alone says when it fires."""
        if (below := self.dst) is not None:
            laid = tuple(_with_dst(trigger, below) for trigger in self.triggers)
            object.__setattr__(self, "triggers", laid)  # frozen, and nobody has seen it yet
        return self

    @property
    def in_process(self) -> bool:
        """Whether attempts are processes of their own."""
        return self.run.kind in {"command", "script", "python"} or self.isolation in {"process", "sandbox"}

    @property
    def time_triggers(self) -> tuple[tuple[int, TimeTriggerSpec], ...]:
        """The triggers that fire by the clock, each with its place in ``triggers``."""
        return tuple((index, t) for index, t in enumerate(self.triggers) if isinstance(t, TimeTriggerModel))

    @cached_property
    def may_name_event(self) -> bool:
        """Whether a template may read the event that started the flow: it is looked for then."""
        texts = self.model_dump_json(include={"run", "params", "env"})
        return "{{" in texts and "event" in texts

    @property
    def tells_depth(self) -> bool:
        """Whether what it sends says which chain of runs it belongs to: the event is looked for then, too."""
        return self.run.kind in {"http", "publish"}

    def timezone_of(self, trigger: TriggerSpec) -> str:
        """Return the time zone that ``trigger`` of this job is read in."""
        return trigger.timezone or self.timezone


__all__ = [
    "AtTrigger",
    "CatchUpSpec",
    "ConcurrencySpec",
    "CronTrigger",
    "DstSpec",
    "EveryTrigger",
    "HttpSpec",
    "JobSpec",
    "NeedSpec",
    "ResourcesSpec",
    "RetrySpec",
    "RunSpec",
    "ScriptSpec",
    "TimeoutSpec",
    "TriggerSpec",
    "UniqueSpec",
]
