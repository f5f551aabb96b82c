"""The ``triggers`` key: when a job runs by itself."""

import hashlib
import json
import re
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from schemas.durations import Duration, IntervalField
from schemas.json_values import JsonObject
from schemas.message import Name
from schemas.spec_model import Moment, SpecModel, StrictBool, StrictInt, Text
from schemas.vocabulary import CatchUpPolicy, TriggerKind


class CatchUpSpec(SpecModel):
    """What becomes of firings that were due while nothing was there to start them."""

    policy: CatchUpPolicy = CatchUpPolicy.LATEST
    """latest: one run stands for all; all: a run each; none: no run."""
    window: Duration = timedelta(days=7)
    """How late a firing may be and still run."""
    max: Annotated[StrictInt, Field(ge=1, le=100_000)] = 100
    """With policy all: at most this many runs, the latest ones."""


class TriggerModel(SpecModel):
    """The keys that every kind of trigger has."""

    kind: ClassVar[TriggerKind]
    timing: ClassVar[tuple[str, ...]]
    """The keys that say when: what the key of a trigger without an id is made from."""

    id: Name | None = None
    """Name of the trigger within its job; default: its kind and a hash of its times."""
    timezone: Text | None = None
    """IANA name; default: the job's."""
    params: JsonObject = Field(default_factory=dict)
    """Merged over the job's params for the runs of this trigger."""
    starts_at: Moment | None = None
    """No firing before this time."""
    ends_at: Moment | None = None
    """No firing after this time."""
    max_fires: Annotated[StrictInt, Field(ge=1)] | None = None
    """The trigger is over after this many firings; default: no limit."""
    enabled: StrictBool = True
    """false: it does not fire."""
    catch_up: CatchUpSpec | None = None
    """Default: the job's."""

    @property
    def key(self) -> str:
        """What names this trigger within its job: the id, or kind and hash of its times.

        The key stays when other triggers, params or limits are edited, and so do cursor and ledger.
        """
        if self.id is not None:
            return self.id
        fields = self.model_dump(mode="json", include={*self.timing, "timezone"}, exclude_none=True)
        canonical = json.dumps(fields, sort_keys=True, ensure_ascii=False)
        return f"{self.kind}-{hashlib.sha256(canonical.encode()).hexdigest()[:12]}"


def _one_space(value: object) -> object:
    return " ".join(re.split(r"[ \t]+", value.strip(" \t"))) if isinstance(value, str) else value


def _one_or_many(value: object) -> object:
    return value if isinstance(value, list | tuple) else (value,)


class CronTrigger(TriggerModel):
    """Fires at the wall times of a cron expression."""

    kind = TriggerKind.CRON
    timing = ("cron", "seconds", "day_match")

    cron: Annotated[Text, BeforeValidator(_one_space), Field(min_length=1, max_length=256)]
    """Five fields (six with seconds: true) or @hourly, @daily, @weekly, @monthly, @yearly."""
    seconds: StrictBool = False
    """Six fields, seconds first."""
    day_match: Literal["any", "all"] = "any"
    """When day of month and day of week are both given: any one of them, or both."""


class EveryTrigger(TriggerModel):
    """Fires at a fixed distance from an anchor."""

    kind = TriggerKind.EVERY
    timing = ("every", "anchor")

    every: IntervalField
    """A duration, or months, which keep the wall hour."""
    anchor: Moment | None = None
    """An instant at which it fires; default: the time of the first apply."""


class AtTrigger(TriggerModel):
    """Fires at the given times, once each."""

    kind = TriggerKind.AT
    timing = ("at",)

    at: Annotated[tuple[Moment, ...], BeforeValidator(_one_or_many), Field(min_length=1, max_length=10_000)]
    """One time or a list of times."""


TRIGGER_KINDS: Final = tuple(kind.value for kind in TriggerKind)


def _kind_of(value: Any) -> str | None:
    if isinstance(value, TriggerModel):
        return value.kind.value
    return next((kind for kind in TRIGGER_KINDS if isinstance(value, dict) and kind in value), None)


def _one_kind(value: object) -> object:
    if isinstance(value, dict):
        given = [kind for kind in TRIGGER_KINDS if kind in value]
        if len(given) > 1:
            raise ValueError(f"a trigger has one kind, found {' and '.join(given)}; make them entries of their own")
    return value


TriggerSpec = Annotated[
    Annotated[CronTrigger, Tag("cron")] | Annotated[EveryTrigger, Tag("every")] | Annotated[AtTrigger, Tag("at")],
    Discriminator(
        _kind_of,
        custom_error_type="trigger_kind",
        custom_error_message=f"must be a mapping with one of the keys {', '.join(TRIGGER_KINDS)}",
    ),
    BeforeValidator(_one_kind),
]
