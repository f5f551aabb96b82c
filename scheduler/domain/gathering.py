"""What becomes of events that a trigger does not take one by one: debounced, throttled, collected, parts of a whole.

Pure: what has happened before is handed in, and what there is to write comes out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from scheduler.domain.matching import Event, Match
from schemas.durations import format_duration
from schemas.happening_trigger import AllOfTrigger, AnyOfTrigger
from schemas.limit_spec import Rate
from schemas.trigger_spec import EventTriggerSpec
from schemas.vocabulary import EventSource, Verdict

MAX_GATHERED_CHARS: Final = 1 << 20
"""Events that are collected have at most so much data together, as JSON; with more the run starts early."""
GroupKey = tuple[UUID, str]
"""A trigger, and what it gathers by."""


@dataclass(frozen=True, slots=True)
class Placed:
    """What becomes of one event at one trigger; a verdict where it starts nothing by itself."""

    verdict: Verdict | None = None
    reason: str | None = None
    hold_key: str | None = None
    hold_s: float | None = None
    """So long it waits whether another comes; None: it goes on at once."""


PASSES: Final = Placed()


@dataclass(slots=True)
class Opened:
    """A gathered event that takes up others: it lies in a row between them."""

    id: UUID
    data: dict[str, Any]
    wait_s: float | None = None
    """In how many seconds it is decided, 0: now; None: as was said before."""
    changed: bool = False


def pause_of(spec: EventTriggerSpec) -> Rate | None:
    """Return how often a trigger may fire; None: as often as it likes."""
    if isinstance(spec, AnyOfTrigger) and spec.within is not None:
        return Rate(1, format_duration(spec.within), spec.within)
    return spec.throttle


def takes_up(match: Match, event: Event) -> bool:
    """Whether a trigger takes ``event`` up into another, which stands for several."""
    spec = match.trigger.spec
    return event.source is not EventSource.GATHERED and (isinstance(spec, AllOfTrigger) or spec.collect is not None)


def is_gathered(match: Match, event: Event) -> bool:
    """Whether something is to be decided here at all; for most events there is not."""
    if match.problem is not None or event.source in {EventSource.GATHERED, EventSource.ABSENCE}:
        return False
    spec = match.trigger.spec
    return takes_up(match, event) or spec.debounce is not None or pause_of(spec) is not None


@dataclass(slots=True)
class Gate:
    """Debounces and throttles the events of one trigger and key, oldest first."""

    match: Match
    passed: list[datetime] = field(default_factory=list)
    """When the ones before were let pass."""

    def place(self, event: Event) -> Placed:
        """Return what becomes of ``event``, as if it were the last one that comes."""
        spec, at = self.match.trigger.spec, event.received_at
        rate = pause_of(spec)
        if rate is not None:
            lately = [before for before in self.passed if before > at - rate.every * rate.count]
            if len(lately) >= rate.count:
                named = f"within {rate.text}" if isinstance(spec, AnyOfTrigger) else f"throttle {rate}"
                return Placed(Verdict.THROTTLED, f"{named}: the last one that passed came at {_text(max(lately))}")
        self.passed.append(at)
        hold_s = None if spec.debounce is None else spec.debounce / timedelta(seconds=1)
        return Placed(hold_key=self.match.key, hold_s=hold_s)

    def replaced(self, by: UUID) -> Placed:
        """Return what becomes of the one that waited, now that another has come."""
        debounce = self.match.trigger.spec.debounce or timedelta(0)
        if self.passed:
            self.passed.pop()
        reason = f"event {by} came within {format_duration(debounce)}"
        return Placed(Verdict.DEBOUNCED, reason, hold_key=self.match.key)


def take_up(match: Match, event: Event, size: int, opened: Opened) -> Placed:
    """Add ``event``, of ``size`` characters, to a gathered one; return what becomes of it."""
    spec = match.trigger.spec
    if isinstance(spec, AllOfTrigger):
        return _take_part(spec, match.parts, event, opened)
    if spec.collect is None:
        raise ValueError(f"{match.trigger.named} takes up nothing")
    if not opened.data:
        opened.data, opened.wait_s = {"ids": [], "chars": 0}, spec.collect.within / timedelta(seconds=1)
    opened.data["ids"].append(str(event.id))
    opened.data["chars"] += size
    opened.changed = True
    if len(opened.data["ids"]) >= spec.collect.max or opened.data["chars"] >= MAX_GATHERED_CHARS:
        opened.wait_s = 0.0
    return Placed(Verdict.COLLECTED, f"in event {opened.id}")


def is_closed(opened: Opened) -> bool:
    """Whether nothing more goes into a gathered event."""
    return opened.wait_s == 0.0


def _take_part(spec: AllOfTrigger, parts: Sequence[int], event: Event, opened: Opened) -> Placed:
    """Count one part; those that happened longer ago than the window count no more."""
    border = event.received_at - spec.within
    held = {
        part: one
        for part, one in opened.data.get("parts", {}).items()
        if datetime.fromisoformat(one["at"]) > border and int(part) < len(spec.all_of)
    }
    part = next((part for part in parts if str(part) not in held), parts[0])
    held[str(part)] = {"id": str(event.id), "at": event.received_at.isoformat()}
    opened.data = {"parts": held, "of": len(spec.all_of), "within": format_duration(spec.within)}
    opened.changed = True
    opened.wait_s = 0.0 if len(held) == len(spec.all_of) else spec.within / timedelta(seconds=1)
    return Placed(Verdict.COLLECTED, f"part {part + 1} of {len(spec.all_of)}, in event {opened.id}")


def members_of(data: dict[str, Any]) -> list[UUID]:
    """Return the events that a gathered one stands for: as they came, or in the order of the parts."""
    if "parts" in data:
        return [UUID(one["id"]) for _, one in sorted(data["parts"].items(), key=lambda item: int(item[0]))]
    return [UUID(one) for one in data["ids"]]


def incomplete(data: dict[str, Any]) -> str | None:
    """Return what keeps a gathered event from standing for a whole; None: nothing does."""
    if "parts" not in data or len(data["parts"]) == data["of"]:
        return None
    came = ", ".join(str(part + 1) for part in sorted(map(int, data["parts"])))
    return f"of {data['of']} parts only {came} happened within {data['within']}"


def _text(instant: datetime) -> str:
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")
