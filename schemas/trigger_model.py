"""What every kind of trigger has, and what the kinds have that fire by the clock."""

import hashlib
import json
from datetime import timedelta
from typing import Annotated, ClassVar, Final

from pydantic import AfterValidator, Field

from schemas.durations import Duration, format_duration
from schemas.json_values import JsonObject
from schemas.message import Name
from schemas.spec_model import Moment, SpecModel, StrictBool, StrictInt, Text
from schemas.vocabulary import CatchUpPolicy, FoldRule, GapRule, TriggerKind

MAX_JITTER: Final = timedelta(days=1)
"""With more, a firing would leave the day it was planned for, and start behind those of the next day."""


def _at_most_a_day(jitter: timedelta) -> timedelta:
    if jitter > MAX_JITTER:
        raise ValueError(f"must be at most {format_duration(MAX_JITTER)}")
    return jitter


class CatchUpSpec(SpecModel):
    """What becomes of firings that were due while nothing was there to start them."""

    policy: CatchUpPolicy = CatchUpPolicy.LATEST
    """latest: one run stands for all; all: a run each; none: no run."""
    window: Duration = timedelta(days=7)
    """How late a firing may be and still run."""
    max: Annotated[StrictInt, Field(ge=1, le=100_000)] = 100
    """With policy all: at most this many runs, the latest ones."""


class DstSpec(SpecModel):
    """What becomes of fixed wall times when the clock changes; see docs/time.md for the others."""

    gap: GapRule | None = None
    """A skipped wall time; default: run_after."""
    fold: FoldRule | None = None
    """A repeated wall time; default: first."""

    def over(self, below: "DstSpec") -> "DstSpec":
        """Return these rules, and those of ``below`` where there is none here."""
        return DstSpec(gap=self.gap or below.gap, fold=self.fold or below.fold)


class TriggerModel(SpecModel):
    """The keys that every kind of trigger has."""

    kind: ClassVar[TriggerKind]
    timing: ClassVar[tuple[str, ...]]
    """The keys that say when: what the key of a trigger without an id is made from."""

    id: Name | None = None
    """Name of the trigger within its job; default: its kind and a hash of its times."""
    timezone: Annotated[Text, Field(min_length=1)] | None = None
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


class TimeTriggerModel(TriggerModel):
    """The keys of a trigger that fires by the clock."""

    catch_up: CatchUpSpec | None = None
    """Default: the job's."""
    jitter: Annotated[Duration, AfterValidator(_at_most_a_day)] = timedelta(0)
    """Each firing comes later by a fixed share of this, at most 1d, and before the next one."""
    dst: DstSpec | None = None
    """What becomes of skipped and repeated wall times; each rule that is not given is the job's."""
