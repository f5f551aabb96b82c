"""Triggers that wait for what happens in the scheduler itself, for what does not happen, and for several things."""

import re
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from schemas.durations import Duration
from schemas.event_trigger import EventTrigger, EventTriggerModel, WebhookTrigger, check_topic
from schemas.sizes import Size
from schemas.spec_model import SpecModel, StrictInt, Text
from schemas.trigger_model import CatchUpSpec
from schemas.vocabulary import TriggerKind


class EndState(StrEnum):
    """Which end of a run a trigger waits for."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    FINISHED = "finished"
    """Any end."""


class SystemEvent(StrEnum):
    """What a trigger may wait for of the scheduler itself."""

    STARTED = "started"
    """A Dispatcher works, and none did before."""
    STOPPING = "stopping"
    """The last Dispatcher goes in order."""
    EXECUTOR_LOST = "executor_lost"
    """An executor was not heard of for a lease, and had not said that it stops."""
    DISK_LOW = "disk_low"
    TENANT_DATABASE_DOWN = "tenant_database_down"
    """The database of a tenant that has its own cannot be reached; told to the tenants of the main one."""
    BACKLOG_HIGH = "backlog_high"
    RUN_LONG = "run_long"


_JOB: Final = re.compile(r"[a-z0-9_*-]{1,63}")
_TIME: Final = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
_DAY: Final = timedelta(days=1)
_LIMITS: Final = {
    "after": frozenset({SystemEvent.RUN_LONG}),
    "job": frozenset({SystemEvent.RUN_LONG}),
    "above": frozenset({SystemEvent.BACKLOG_HIGH}),
    "pool": frozenset({SystemEvent.BACKLOG_HIGH, SystemEvent.EXECUTOR_LOST}),
    "below": frozenset({SystemEvent.DISK_LOW}),
}


def _pattern(text: str) -> str:
    if not _JOB.fullmatch(text):
        raise ValueError("must be a name, or a pattern of names in which * stands for any characters")
    return text


def _time_of_day(text: str) -> str:
    if not _TIME.fullmatch(text):
        raise ValueError(f'{text[:20]!r} is no time of day; write for instance "09:00"')
    return text


NamePattern = Annotated[Text, AfterValidator(_pattern)]
"""A name, or a pattern: * stands for any characters."""


class EndedSpec(SpecModel):
    """Which ends of runs are waited for."""

    job: NamePattern
    """Name of the other job, or a pattern in which * stands for any characters."""
    state: EndState
    """How it ended; finished is any end."""


class EndedTrigger(EventTriggerModel):
    """Fires when a run of another job has ended; never for its own job."""

    kind = TriggerKind.ENDED
    timing = ("ended", "where")

    ended: EndedSpec
    """Of which job, and how."""


class SystemSpec(SpecModel):
    """What of the scheduler itself is waited for."""

    on: SystemEvent
    """What happens."""
    after: Duration | None = None
    """run_long: how long the run is going on."""
    job: NamePattern = "*"
    """run_long: of which jobs, a name or a pattern."""
    above: Annotated[StrictInt, Field(ge=1)] = 1000
    """backlog_high: more runs of the tenant than this are ready."""
    pool: NamePattern = "*"
    """backlog_high, executor_lost: of which pools, a name or a pattern."""
    below: Size = 1024**3
    """disk_low: less than this is free where a Dispatcher keeps its data."""

    @model_validator(mode="after")
    def _limits_fit(self) -> Self:
        for key, ons in _LIMITS.items():
            if getattr(self, key) != type(self).model_fields[key].default and self.on not in ons:
                raise ValueError(f"{key} has no meaning with on: {self.on}")
        if self.on is SystemEvent.RUN_LONG and not self.after:
            raise ValueError("on: run_long needs after, for instance after: 1h")
        return self


class SystemTrigger(EventTriggerModel):
    """Fires when something happens to the scheduler."""

    kind = TriggerKind.SYSTEM
    timing = ("system", "where")

    system: SystemSpec
    """What happens."""


class MissingSpec(SpecModel):
    """What is to have happened each day until a time."""

    event: Annotated[Text, AfterValidator(check_topic)] | None = None
    """A topic, or a pattern of topics, of events from outside."""
    ended: EndedSpec | None = None
    """The end of a run of another job."""
    by: Annotated[Text, AfterValidator(_time_of_day)]
    """Time of day, as in 09:00, on the clocks of the trigger's time zone; looked at each day."""

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        if (self.event is None) is (self.ended is None):
            raise ValueError("missing has one of the keys event and ended")
        return self


class MissingTrigger(EventTriggerModel):
    """Fires when something did not happen since the last time it was looked for, or in the day before."""

    kind = TriggerKind.MISSING
    timing = ("missing", "where")
    gathers = "none"

    missing: MissingSpec
    """What, and by when."""
    catch_up: CatchUpSpec | None = None
    """What becomes of times at which nobody could look; default: the job's."""


def _part_kind(value: Any) -> str | None:
    if isinstance(value, EventTriggerModel):
        return value.kind.value
    return next((kind for kind in PART_KINDS if isinstance(value, dict) and kind in value), None)


def _one_kind(value: object) -> object:
    if isinstance(value, dict):
        given = [kind for kind in PART_KINDS if kind in value]
        if len(given) > 1:
            raise ValueError(f"a part has one kind, found {' and '.join(given)}; make them parts of their own")
    return value


def _alone(part: EventTriggerModel) -> EventTriggerModel:
    own = {part.kind.value, "where"}
    defaults = {key: field.get_default(call_default_factory=True) for key, field in type(part).model_fields.items()}
    if more := [key for key, default in defaults.items() if key not in own and getattr(part, key) != default]:
        raise ValueError(f"a part has its kind and where; {', '.join(more)} may stand beside the list of parts")
    return part


PART_KINDS: Final = ("event", "webhook", "ended", "system")
"""The kinds that a composite trigger may have for parts."""
PartSpec = Annotated[
    Annotated[
        Annotated[EventTrigger, Tag("event")]
        | Annotated[WebhookTrigger, Tag("webhook")]
        | Annotated[EndedTrigger, Tag("ended")]
        | Annotated[SystemTrigger, Tag("system")],
        Discriminator(
            _part_kind,
            custom_error_type="part_kind",
            custom_error_message=f"must be a mapping with one of the keys {', '.join(PART_KINDS)}",
        ),
    ],
    BeforeValidator(_one_kind),
    AfterValidator(_alone),
]
"""A part of a composite trigger."""
_Parts = Annotated[tuple[PartSpec, ...], Field(min_length=2, max_length=20)]


class AllOfTrigger(EventTriggerModel):
    """Fires when each of its parts has happened, none longer ago than ``within``."""

    kind = TriggerKind.ALL_OF
    timing = ("all_of", "within", "where")
    gathers = "by"

    all_of: _Parts
    """What has to happen, in any order; each part counts once."""
    within: Annotated[Duration, Field(gt=timedelta(0))] = _DAY
    """So close together."""


class AnyOfTrigger(EventTriggerModel):
    """Fires when any one of its parts happens."""

    kind = TriggerKind.ANY_OF
    timing = ("any_of", "within", "where")

    any_of: _Parts
    """What may happen."""
    within: Annotated[Duration, Field(gt=timedelta(0))] | None = None
    """After it has fired, it does not for so long; default: it fires each time."""

    @model_validator(mode="after")
    def _one_pause(self) -> Self:
        if self.within is not None and (self.collect is not None or self.throttle is not None):
            raise ValueError("within of any_of stands alone, without throttle and collect")
        return self
