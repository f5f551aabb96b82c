"""The ``triggers`` key: when a job runs by itself."""

import re
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from schemas.calendar_trigger import CalendarTrigger
from schemas.durations import IntervalField
from schemas.event_trigger import EventTrigger, FileTrigger, WebhookTrigger
from schemas.happening_trigger import AllOfTrigger, AnyOfTrigger, EndedTrigger, MissingTrigger, SystemTrigger
from schemas.spec_model import Moment, StrictBool, Text
from schemas.trigger_model import TimeTriggerModel, TriggerModel
from schemas.vocabulary import TriggerKind


def _one_space(value: object) -> object:
    return " ".join(re.split(r"[ \t]+", value.strip(" \t"))) if isinstance(value, str) else value


def _one_or_many(value: object) -> object:
    return value if isinstance(value, list | tuple) else (value,)


class CronTrigger(TimeTriggerModel):
    """Fires at the wall times of a cron expression."""

    kind = TriggerKind.CRON
    timing = ("cron", "seconds", "day_match")

    cron: Annotated[Text, BeforeValidator(_one_space), Field(min_length=1, max_length=256)]
    """Five fields (six with seconds: true) or @hourly, @daily, @weekly, @monthly, @yearly."""
    seconds: StrictBool = False
    """Six fields, seconds first."""
    day_match: Literal["any", "all"] = "any"
    """When day of month and day of week are both given: any one of them, or both."""


class EveryTrigger(TimeTriggerModel):
    """Fires at a fixed distance from an anchor."""

    kind = TriggerKind.EVERY
    timing = ("every", "anchor")

    every: IntervalField
    """A duration, or months, which keep the wall hour."""
    anchor: Moment | None = None
    """An instant at which it fires; default: the time of the first apply."""


class AtTrigger(TimeTriggerModel):
    """Fires at the given times, once each."""

    kind = TriggerKind.AT
    timing = ("at",)

    at: Annotated[tuple[Moment, ...], BeforeValidator(_one_or_many), Field(min_length=1, max_length=10_000)]
    """One time or a list of times."""


TRIGGER_KINDS: Final = tuple(kind.value for kind in TriggerKind)
TIME_KINDS: Final = frozenset({TriggerKind.CRON, TriggerKind.EVERY, TriggerKind.AT, TriggerKind.CALENDAR})
"""The kinds that fire by the clock."""
EVENT_KINDS: Final = frozenset(TriggerKind) - TIME_KINDS
"""The kinds that fire for events."""


def _kind_of(value: Any) -> str | None:
    if isinstance(value, TriggerModel):
        return value.kind.value
    return next((kind for kind in TRIGGER_KINDS if isinstance(value, dict) and kind in value), None)


def _one_kind(value: object) -> object:
    if isinstance(value, dict):
        given = [kind for kind in TRIGGER_KINDS if kind in value]
        if given == ["at", "calendar"]:
            raise ValueError(
                'the time of a calendar trigger stands inside it: {calendar: {business_day: 1, at: "18:00"}}'
            )
        if len(given) > 1:
            raise ValueError(f"a trigger has one kind, found {' and '.join(given)}; make them entries of their own")
    return value


_BY_KIND: Final = Discriminator(
    _kind_of,
    custom_error_type="trigger_kind",
    custom_error_message=f"must be a mapping with one of the keys {', '.join(TRIGGER_KINDS)}",
)

_ByClock = (
    Annotated[CronTrigger, Tag("cron")]
    | Annotated[EveryTrigger, Tag("every")]
    | Annotated[AtTrigger, Tag("at")]
    | Annotated[CalendarTrigger, Tag("calendar")]
)
_Missing = Annotated[MissingTrigger, Tag("missing")]
_ByEvents = (
    Annotated[EventTrigger, Tag("event")]
    | Annotated[WebhookTrigger, Tag("webhook")]
    | Annotated[FileTrigger, Tag("file")]
    | Annotated[EndedTrigger, Tag("ended")]
    | Annotated[SystemTrigger, Tag("system")]
    | _Missing
    | Annotated[AllOfTrigger, Tag("all_of")]
    | Annotated[AnyOfTrigger, Tag("any_of")]
)

PlannedTriggerSpec = Annotated[_ByClock | _Missing, _BY_KIND, BeforeValidator(_one_kind)]
"""A trigger that a Ticker plans: by its schedule it fires, or looks whether something is missing."""

TimeTriggerSpec = Annotated[_ByClock, _BY_KIND, BeforeValidator(_one_kind)]
"""A trigger that fires by the clock: it has a schedule."""

EventTriggerSpec = Annotated[_ByEvents, _BY_KIND, BeforeValidator(_one_kind)]
"""A trigger that waits for events."""

TriggerSpec = Annotated[_ByClock | _ByEvents, _BY_KIND, BeforeValidator(_one_kind)]


def waits_for_events(value: Any) -> bool:
    """Whether ``value``, a trigger or what is to become one, fires for events."""
    return _kind_of(value) in EVENT_KINDS
