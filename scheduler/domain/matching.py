"""Which triggers an event fires, and with which params. Pure: the same answer for the same event, always."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, Protocol, assert_never, cast
from uuid import UUID

import jmespath
from jmespath.exceptions import JMESPathError

from scheduler.domain.gates import JobEntry
from scheduler.domain.schedule import borders_of
from scheduler.domain.template import render_native
from scheduler.domain.template_errors import TemplateError
from scheduler.domain.topic import matches
from scheduler.domain.zones import zone
from schemas.event_trigger import EventTrigger, FileTrigger, WebhookTrigger
from schemas.trigger_spec import EventTriggerSpec
from schemas.vocabulary import EventSource

PUBLISHED: Final = frozenset({EventSource.AMQP, EventSource.CLI, EventSource.API})
"""The sources whose events have a topic that their sender chose."""
WEBHOOK_TOPIC: Final = "webhook."
"""Before the name of an endpoint: the topic of its events."""


class Filter(Protocol):
    """A compiled ``where``."""

    def search(self, value: Any) -> Any: ...


@dataclass(frozen=True, slots=True)
class Event:
    """An event as triggers see it."""

    id: UUID
    source: EventSource
    topic: str
    data: Any
    received_at: datetime
    subject: str | None = None
    headers: Mapping[str, Any] | None = None
    occurred_at: datetime | None = None
    for_triggers: Sequence[UUID] | None = None

    def words(self) -> dict[str, Any]:
        """Return what templates and ``where`` know as ``event``."""
        return {
            "id": str(self.id),
            "source": self.source.value,
            "topic": self.topic,
            "subject": self.subject,
            "time": _text(self.occurred_at or self.received_at),
            "data": self.data,
            "headers": dict(self.headers or {}),
        }


@dataclass(frozen=True, slots=True)
class Waiting:
    """A trigger that waits for events, and its job; None: that cannot be read."""

    id: UUID
    job_id: UUID
    job_version: int
    key: str
    spec: EventTriggerSpec
    job: JobEntry | None

    @property
    def named(self) -> str:
        """How people are told of it."""
        return f"trigger {self.key} of job {self.job.name if self.job else self.job_id}"


@dataclass(frozen=True, slots=True)
class Match:
    """A trigger that an event fires. ``problem``: no run can be made of it, and why."""

    trigger: Waiting
    params: dict[str, Any] | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Matched:
    """What an event comes to; ``notes`` say why triggers that have its topic did not fire."""

    matches: Sequence[Match] = ()
    notes: Sequence[str] = ()


class EventTriggers:
    """The triggers of one tenant that wait for events, found by topic."""

    def __init__(self, triggers: Iterable[Waiting]) -> None:
        self._exact: dict[str, list[Waiting]] = {}
        self._patterns: list[tuple[str, Waiting]] = []
        self._webhooks: dict[str, list[Waiting]] = {}
        self._by_id: dict[UUID, Waiting] = {}
        for trigger in triggers:
            self._add(trigger)

    def match(self, event: Event) -> Matched:
        """Return which triggers ``event`` fires, each with its params."""
        found: list[Match] = []
        notes: list[str] = []
        for trigger in self._candidates(event):
            decided = _judge(trigger, event)
            if isinstance(decided, Match):
                found.append(decided)
            else:
                notes.append(f"{trigger.named}: {decided}")
        return Matched(found, notes)

    def _add(self, trigger: Waiting) -> None:
        self._by_id[trigger.id] = trigger
        match trigger.spec:
            case EventTrigger(event=spec):
                if {"*", "#"} & set(spec.topic.split(".")):
                    self._patterns.append((spec.topic, trigger))
                else:
                    self._exact.setdefault(spec.topic, []).append(trigger)
            case WebhookTrigger(webhook=name):
                self._webhooks.setdefault(f"{WEBHOOK_TOPIC}{name}", []).append(trigger)
            case FileTrigger():
                pass  # its events name it
            case _:
                assert_never(trigger.spec)

    def _candidates(self, event: Event) -> Iterator[Waiting]:
        if event.for_triggers is not None:
            yield from (self._by_id[trigger] for trigger in event.for_triggers if trigger in self._by_id)
        elif event.source is EventSource.WEBHOOK:
            yield from self._webhooks.get(event.topic, ())
        elif event.source in PUBLISHED:
            yield from self._exact.get(event.topic, ())
            yield from (trigger for pattern, trigger in self._patterns if matches(pattern, event.topic))


@lru_cache(maxsize=4096)
def compile_where(text: str) -> Filter:
    """Return the JMESPath expression ``text``, ready to search.

    Raises:
        ValueError: one plain sentence: what is wrong with it.
    """
    try:
        return cast("Filter", jmespath.compile(text))
    except JMESPathError as error:
        said = str(error).splitlines()[0].rstrip(":")
        raise ValueError(f"is no JMESPath expression: {said}") from None
    except RecursionError:
        raise ValueError("is no JMESPath expression: it is nested too deeply") from None


def _judge(trigger: Waiting, event: Event) -> Match | str:
    """Return the match, or why there is none though the topic fits."""
    spec = trigger.spec
    try:
        starts_at, ends_at = borders_of(
            spec, zone(spec.timezone or (trigger.job.spec.timezone if trigger.job else "UTC"))
        )
    except ValueError as error:
        return str(error)
    if starts_at is not None and event.received_at < starts_at:
        return f"starts_at is {_text(starts_at)}"
    if ends_at is not None and event.received_at > ends_at:
        return f"ends_at was {_text(ends_at)}"
    words = event.words()
    params, problem = _params(trigger, words, event.received_at)
    if spec.where is not None:
        below = trigger.job.spec.params if trigger.job else {}
        try:
            said = compile_where(spec.where).search({"event": words, "params": {**below, **(params or {})}})
        except (JMESPathError, ValueError, RecursionError) as error:
            return f"where cannot be asked of it: {str(error).splitlines()[0]}"
        if said is None or said is False or (isinstance(said, str | list | dict) and not said):
            return "where is not true of it"
    return Match(trigger, params, problem)


def _params(trigger: Waiting, words: Mapping[str, Any], fired_at: datetime) -> tuple[dict[str, Any] | None, str | None]:
    """Return the params of a run, literal, or why there can be none."""
    if not trigger.spec.params:
        return None, None
    run = {"job": trigger.job.name if trigger.job else "", "attempt": 1, "fired_at": fired_at.isoformat()}
    try:
        return render_native(trigger.spec.params, {"event": words, "run": run}), None
    except TemplateError as error:
        return None, f"the trigger's params cannot be filled: {error}"


def _text(instant: datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")
