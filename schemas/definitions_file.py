"""The definitions file as a whole: what stands beside the jobs."""

from typing import Annotated, Any, Literal

from pydantic import Field, StrictInt

from schemas.calendar_spec import CalendarSpec
from schemas.labels import Labels
from schemas.message import Name
from schemas.run_spec import HandlerName
from schemas.spec_model import SpecModel
from schemas.webhook_spec import WebhookSpec


class PoolSpec(SpecModel):
    """An operator's settings of a pool of executors."""

    queue_limit: Annotated[StrictInt, Field(ge=1, le=100_000)] = 1000
    """At most this many runs wait on the pool's queue; the backlog behind it has no limit."""
    handlers: tuple[HandlerName, ...] = ()
    """An executor joins the pool only if it has these handlers,"""
    labels: Labels = Field(default_factory=dict)
    """and these labels."""


class DefinitionsFile(SpecModel):
    """A file of jobs. The jobs themselves are read one by one, each over the defaults: see JobSpec."""

    version: Literal[1] = 1
    """Version of the format."""
    tenant: Name = "default"
    """Whom everything in the file belongs to."""
    source: Name | None = None
    """Names what is applied from here, so that --prune removes only that."""
    defaults: dict[str, Any] = Field(default_factory=dict)
    """Any keys of a job, merged under each job of this file: mappings deep, lists replaced."""
    jobs: dict[Name, Any] = Field(default_factory=dict)
    """What to run, by name."""
    chains: dict[Name, Annotated[tuple[Name, ...], Field(min_length=2, max_length=10_000)]] = Field(
        default_factory=dict
    )
    """Lists of jobs, each of which needs the one before it."""
    calendars: dict[Name, CalendarSpec] = Field(default_factory=dict)
    """Business calendars by name, for calendar triggers."""
    webhooks: dict[Name, WebhookSpec] = Field(default_factory=dict)
    """Endpoints by name, each at POST /hooks/TENANT/NAME; for webhook triggers."""
    pools: dict[Name, PoolSpec] = Field(default_factory=dict)
    """Settings of executor pools; for the operator's tenant."""
