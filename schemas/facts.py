"""Messages that tell: past tense."""

from typing import Annotated, Any, ClassVar, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from schemas.json_values import JsonObject, JsonValue
from schemas.message import Attempt, AttemptKey, AwareDatetime, Fact, Name
from schemas.vocabulary import EventSource, Outcome, RunState
from schemas.work import Circuit


class FiringDue(Fact):
    """A firing is written and waits for its verdict. A hint: the row says so too."""

    type: ClassVar[str] = "firing.due"

    firing_id: UUID
    fires_at: AwareDatetime | None = None
    """Not to be decided before this instant, which is near; None: it has come."""


class CarriedEvent(BaseModel):
    """An event that is not recorded yet: the message is its only copy."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    source: EventSource
    topic: Annotated[str, Field(max_length=255)]
    data: JsonValue
    key: str | None = None
    """What it is known by when it comes again; None: nothing."""
    sender_id: str | None = None
    subject: str | None = None
    headers: JsonObject = Field(default_factory=dict)
    occurred_at: AwareDatetime | None = None
    """As its sender says; None: it does not."""
    problem: str | None = None
    """Why nothing can be made of it."""


class EventReceived(Fact):
    """An event waits for its verdict. A hint, the row says so too; unless it carries the event."""

    type: ClassVar[str] = "event.received"

    event_id: UUID
    event: CarriedEvent | None = None
    """To be recorded under that id first, unless it is there; None: it is."""


class ClaimAnswered(Fact):
    """The answer to one claim. Denied is final for this claim id."""

    type: ClassVar[str] = "claim.answered"

    run_id: UUID
    attempt: Attempt
    claim_id: UUID
    granted: bool
    lease_s: float
    """Seconds from the grant after which the attempt counts as lost unless a heartbeat is recorded."""


class Output(BaseModel):
    """What a job wrote: the first and the last part, and how much there was in all.

    ``head`` and ``tail`` are text with control characters NUL and lone surrogates replaced;
    when nothing was cut, all of it is in ``head`` and ``tail`` is empty.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    head: str = ""
    tail: str = ""
    total_bytes: int = 0


class Usage(BaseModel):
    """What the processes of an attempt used, as far as the system tells."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpu_s: Annotated[float, Field(ge=0)]
    """Seconds of all cores, user and system."""
    peak_memory_bytes: Annotated[int, Field(ge=0)]
    """Of all processes together, files read into memory included, where a cgroup counts; sampled, of all
    without these; without limits, of the largest process."""
    read_bytes: Annotated[int, Field(ge=0)]
    """From the disk, not from memory; 0 as well where the system does not count."""
    written_bytes: Annotated[int, Field(ge=0)]
    limited_by: Literal["cgroup2", "cgroup1", "sampling"] | None = None
    """How ``resources`` were enforced; None: there were none."""


MOST_METRICS: Final = 50
"""Of one attempt."""
MOST_BASES: Final = 16
"""Of the class of what an attempt raised."""
MetricName = Annotated[str, Field(pattern="^[a-z][a-z0-9_]{0,62}$")]


class Progress(BaseModel):
    """How far an attempt said that it is."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    done: Annotated[float, Field(ge=0)]
    total: Annotated[float, Field(ge=0)] | None = None
    """None: it does not know of how much."""
    message: Annotated[str, Field(max_length=200)] = ""


class OutputPiece(BaseModel):
    """What an attempt wrote from one byte of its output up to another, as text without secrets."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: Annotated[int, Field(ge=0)]
    until: Annotated[int, Field(ge=0)]
    """The place of the first byte after it; the next piece begins there, unless some are missing."""
    text: str


class AttemptTold(Fact):
    """What an attempt said of itself while it runs. It may be lost, repeated or late: nothing is decided by it."""

    type: ClassVar[str] = "attempt.told"

    run_id: UUID
    attempt: Attempt
    lease_token: UUID
    seq: Annotated[int, Field(ge=1)]
    """Grows with each word of the executor's process: the higher one is the newer."""
    progress: Progress | None = None
    output: OutputPiece | None = None
    """Only while somebody follows the attempt."""


class AttemptFinished(Fact):
    """The executor's last word on one attempt; may arrive twice, or never.

    ``elapsed_s`` is measured on the executor's monotonic clock. It is not ``finished_at``
    minus a start taken on another host.
    """

    type: ClassVar[str] = "attempt.finished"

    run_id: UUID
    attempt: Attempt
    lease_token: UUID
    claim_id: UUID
    executor: str
    boot_id: UUID
    store: Name | None = None
    """That of its offer."""
    end_seq: Annotated[int, Field(ge=1)]
    """The place of this end in the executor's spool; HeartbeatRecorded names it when it is stored."""
    outcome: Outcome
    reason: str | None = None
    """One line for people; None when there is nothing to say beyond the outcome."""
    exit_code: int | None = None
    """None: no process was started, or a signal ended it."""
    signal: int | None = None
    http_status: int | None = None
    circuit: Circuit | None = None
    """What its target's circuit breaker is; None: it has none."""
    exception: str | None = None
    """Class name of what the job raised, for ``retry.on``."""
    exception_bases: Annotated[tuple[str, ...], Field(max_length=MOST_BASES)] | None = None
    """Names of the classes that its class is derived from, nearest first."""
    retry_after_s: Annotated[float, Field(ge=0)] | None = None
    """The job asked for its next attempt no sooner than this."""
    result: Any = None
    """Small JSON, handed to the runs downstream."""
    output: Output | None = None
    """None: nothing was written."""
    usage: Usage | None = None
    """None: it was no process of its own, or its end was not seen."""
    metrics: Annotated[dict[MetricName, float], Field(max_length=MOST_METRICS)] | None = None
    """Numbers by name that the job's code gave; None: none."""
    progress: Progress | None = None
    """How far it said that it was, the last time; None: it never did."""
    started_at: AwareDatetime
    finished_at: AwareDatetime
    elapsed_s: float


class ExecutorHeartbeat(Fact):
    """Proof of life of one executor process for all its attempts; also the Recorders' barrier."""

    type: ClassVar[str] = "executor.heartbeat"

    executor: str
    boot_id: UUID
    seq: int
    pool: str
    slots: int
    busy: int
    handlers: tuple[str, ...] = ()
    labels: dict[str, str] = Field(default_factory=dict)
    host: str
    pid: int
    program: str
    """Version of the program, for rolling upgrades."""
    cpu: float | None = None
    """Cores that its attempts may demand together; None: it does not say."""
    memory_bytes: int | None = None
    """The same of memory."""
    disk_bytes: int | None = None
    """The same of space where its attempts have their folders."""
    sandboxes: bool = False
    """It can run jobs with isolation sandbox."""
    draining: bool = False
    stopped: bool = False
    """The last heartbeat of an executor that ends in order."""
    attempts: tuple[AttemptKey, ...] = ()
    """Attempts that run here now."""
    unconfirmed_ends: tuple[int, ...] = ()
    """``end_seq`` of ends sent long enough ago that an answer is missing."""
    store: Name | None = None
    """Whose attempts are named; all others learn no more from it than that the executor lives. None: the main one."""
    barrier_at: AwareDatetime | None = None
    """Set only by a Recorder, in a heartbeat of its own: the database's time when it was sent. Who reads
    it has read every heartbeat that was in the queue before; no lease ends earlier than that."""


class HeartbeatRecorded(Fact):
    """The Recorder's answer to an executor: what is stored, what to stop.

    ``ends`` names ends that are stored: the executor may forget them. It is sent after a batch
    of ends as well as after a heartbeat. One with ``asks`` alone asks for a heartbeat at once, since the
    rows about the executor have changed.
    """

    type: ClassVar[str] = "heartbeat.recorded"

    boot_id: UUID
    seq: int | None = None
    """The heartbeat answered; None when only ends are named."""
    ends: tuple[int, ...] = ()
    cancels: tuple[AttemptKey, ...] = ()
    """Attempts running here that somebody wants stopped."""
    kills: tuple[AttemptKey, ...] = ()
    """Those of ``cancels`` that are to be killed without the grace."""
    lost: tuple[AttemptKey, ...] = ()
    """Attempts named in the heartbeat whose lease this executor no longer holds: kill them."""
    hold: str | None = None
    """Why the executor is to take nothing new; None in an answer to a heartbeat: it may."""
    asks: bool = False
    """Send a heartbeat at once."""


class RunSettled(Fact):
    """A run reached a state that the Dispatcher has to act on. A hint: the row says so too."""

    type: ClassVar[str] = "run.settled"

    run_id: UUID
    state: RunState
    pool: str
    elapsed_s: float | None = None
    """How long the settled attempt took; feeds the credit estimate of the pool."""
    has_downstream: bool = False
    """Other runs wait for this one: its end owes a DAG step."""
