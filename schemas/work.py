"""The work order: what an executor has to do, fully rendered, as carried by StartAttempt.

It is made by the Dispatcher from the stored definition, never from words of a sender. Secrets
are references that the executor resolves at the start.
"""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from schemas.vocabulary import OnLostContact


class WorkModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)


class CommandWork(WorkModel):
    """Run ``argv`` as a child process; no shell, elements are never split again."""

    kind: Literal["command"]
    argv: Annotated[tuple[str, ...], Field(min_length=1)]


class ScriptWork(WorkModel):
    """Run a script: its ``text`` under ``interpreter``, or the ``file`` (relative to the code dir)."""

    kind: Literal["script"]
    file: str | None = None
    text: str | None = None
    interpreter: str | None = None
    """A program's name, looked up in PATH. None: what the script's own ``#!`` line names, else ``sh``."""


class PythonWork(WorkModel):
    """Call ``target`` (``module:function``, async or sync) in a child process with the run's params."""

    kind: Literal["python"]
    target: str


class Circuit(WorkModel):
    """The circuit breaker that the end of an attempt counts for, and when it opens."""

    target: str
    failures: Annotated[int, Field(ge=1)]
    open_s: Annotated[float, Field(gt=0)]


Depth = Annotated[int, Field(ge=1, description="How many runs lead to what is sent: this one, and those before it.")]


class HttpWork(WorkModel):
    """Send one HTTP request; 2xx is success."""

    kind: Literal["http"]
    method: str = "POST"
    url: str
    headers: dict[str, str] = Field(default_factory=dict)
    json_body: Any = None
    body: str | None = None
    secret_mark: str | None = None
    """In url, headers and bodies ``<mark NAME>`` stands for a secret of the order; None: none is used."""
    sign_with: str | None = None
    """The secret that signs the request, as Standard Webhooks say."""
    redirects: Annotated[int, Field(ge=0, le=5)] = 0
    """How many redirects are followed."""
    depth: Depth = 1
    circuit: Circuit | None = None


class PublishWork(WorkModel):
    """Publish one AMQP message; that the broker confirms it is success."""

    kind: Literal["publish"]
    exchange: str
    routing_key: str = ""
    json_body: Any = None
    text: str | None = None
    """Given: sent instead of ``json_body``."""
    headers: dict[str, str] = Field(default_factory=dict)
    depth: Depth = 1


class HandlerWork(WorkModel):
    """Call the handler registered as ``name`` by a module given with ``--handlers``."""

    kind: Literal["handler"]
    name: str


Work = Annotated[
    CommandWork | ScriptWork | PythonWork | HttpWork | PublishWork | HandlerWork, Field(discriminator="kind")
]


class SecretRef(WorkModel):
    """Where the executor finds a secret: one of an environment variable and a file of its own."""

    env: str | None = None
    file: str | None = None


def one_place(secret: SecretRef) -> SecretRef:
    """Refuse a reference to no place or to two."""
    if (secret.env is None) == (secret.file is None):
        raise ValueError("give exactly one of env and file")
    return secret


class TimeLimits(WorkModel):
    """Seconds. ``soft`` asks the job to stop, ``hard`` kills it, ``grace`` lies between ask and kill."""

    soft_s: float | None = None
    hard_s: Annotated[float, Field(gt=0)] = 1800.0
    grace_s: Annotated[float, Field(ge=0)] = 10.0


class ResourceLimits(WorkModel):
    """What an attempt's processes together may use; None: as much as there is."""

    cpu: float | None = None
    """Cores; it is slowed down to them."""
    memory_bytes: int | None = None
    pids: int | None = None
    """Processes and threads at a time; where limits are sampled, processes."""
    file_bytes: int | None = None
    """Size of any one file it writes."""
    disk_bytes: int | None = None
    """What it keeps in its own folder."""
    io: Literal["idle", "low", "normal"] = "normal"
    network: Literal["none", "host"] | None = None
    """Only with isolation sandbox; None: none."""


class WorkOrder(WorkModel):
    """Everything an executor must know to run one attempt."""

    job: str
    job_version: int
    flow_id: UUID
    work: Work
    params: dict[str, Any] = Field(default_factory=dict)
    results: dict[str, Any] = Field(default_factory=dict)
    """Results of the upstream runs of this flow, by job name."""
    env: dict[str, str] = Field(default_factory=dict)
    secrets: dict[str, SecretRef] = Field(default_factory=dict)
    cwd: str | None = None
    limits: TimeLimits = TimeLimits()
    labels: dict[str, str] = Field(default_factory=dict)
    """What its executor has to have."""
    on_lost_contact: OnLostContact = OnLostContact.CONTINUE
    resources: ResourceLimits | None = None
    """Only for work in child processes."""
    isolation: Literal["inline", "thread", "process", "sandbox"] | None = None
    """None: inline for async handlers, thread for sync handlers, process for the rest."""
    max_runs_per_process: Annotated[int, Field(ge=1)] | None = None
    """For python: fewer runs than this executor would give to one process; None: as it does."""
    fired_at: AwareDatetime | None = None
    names_as_bytes: bool = False
    """In argv and env, characters U+FDC80 to U+FDCFF stand for the bytes 80 to FF: a file's name is no UTF-8."""
