"""What ``scheduler.feed`` carries: a CloudEvent (1.0, structured JSON) for each fact about a run or a firing.

The routing key is ``<tenant>.<fact>.<job>``, as in ``acme.run.succeeded.backup``. A fact may come
twice; its ``id`` is the same each time.
"""

from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from schemas.facts import Progress
from schemas.vocabulary import FiringKind, Outcome, Verdict

RUN_FACTS: Final = ("started", "progress", "succeeded", "failed", "cancelled", "skipped", "backing_off")
"""``started``: an executor has claimed an attempt; ``progress``: it says how far it is; the others: the state that
the run is in from then on."""
FACTS: Final = (*(f"run.{fact}" for fact in RUN_FACTS), *(f"firing.{verdict}" for verdict in Verdict))
CONTENT_TYPE: Final = "application/cloudevents+json"
TYPE_PREFIX: Final = "scheduler."


class FeedModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class RunData(FeedModel):
    """A run, as far as the fact is about it. Fields are null where they do not apply."""

    kind: Literal["run"] = "run"
    job: str
    run_id: UUID
    job_version: int | None = None
    flow_id: UUID | None = None
    """The runs that one firing started share it."""
    firing_id: UUID | None = None
    """The firing that started the flow, of its first run."""
    retry_of: UUID | None = None
    """The failed run that this one repeats."""
    fired_at: AwareDatetime | None = None
    """The instant that the flow stands for."""
    attempt: int | None = None
    """The attempt that started or ended."""
    outcome: Outcome | None = None
    """How that attempt ended, or why the run ended without one."""
    reason: str | None = None
    exit_code: int | None = None
    http_status: int | None = None
    exception: str | None = None
    elapsed_s: float | None = None
    progress: Progress | None = None
    """Of run.progress: how far the attempt is when the fact is read. Null: nobody knows any more."""


class FiringData(FeedModel):
    """A row of the ledger. One that stands for a stretch of instants is said again when the stretch grows."""

    kind: Literal["firing"] = "firing"
    job: str
    firing_id: UUID
    trigger: str | None = None
    """Its key in the definitions file; null: a person asked."""
    firing_kind: FiringKind | None = None
    fires_at: AwareDatetime | None = None
    to_at: AwareDatetime | None = None
    """The last instant of a stretch."""
    count: int | None = None
    """Instants of the stretch."""
    wall_time: str | None = None
    zone: str | None = None
    verdict: Verdict
    reason: str | None = None
    run_id: UUID | None = None
    """The run that it started, or joined."""
    blocking_run_id: UUID | None = None


class FeedData(FeedModel):
    """Nobody heard the feed until now: what happened before ``cursor`` was not published."""

    kind: Literal["feed"] = "feed"


class CloudEvent(FeedModel):
    """One fact, as CloudEvents 1.0 has it."""

    specversion: Literal["1.0"] = "1.0"
    id: str
    """The same however often the fact is delivered."""
    source: str
    """``/<tenant>/<job>``; of the feed itself ``/``."""
    type: str
    """``scheduler.`` and the fact, as in scheduler.run.succeeded."""
    subject: str | None = None
    """The id of the run or firing."""
    time: AwareDatetime | None = None
    datacontenttype: Literal["application/json"] = "application/json"
    cursor: str
    """Where it lies in the feed: what lies behind it is read with ``after``."""
    traceparent: str | None = None
    """W3C trace context: the attempt; before there is one, the firing of the flow. Null where no flow was started."""
    data: Annotated[RunData | FiringData | FeedData, Field(discriminator="kind")]


def feed_begins(cursor: str) -> CloudEvent:
    """Return what a queue hears first when it is the first to hear the feed for a while."""
    return CloudEvent(
        id=f"begins.{cursor}", source="/", type=f"{TYPE_PREFIX}feed.begins", cursor=cursor, data=FeedData()
    )
