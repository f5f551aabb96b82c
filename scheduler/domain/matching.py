"""Which triggers an event fires, and with which params. Pure: the same answer for the same event, always."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, Protocol, cast
from uuid import UUID

import jmespath
from jmespath.exceptions import JMESPathError

from scheduler.domain.gates import JobEntry
from scheduler.domain.schedule import borders_of
from scheduler.domain.template import render_native, render_text
from scheduler.domain.template_errors import TemplateError
from scheduler.domain.topic import matches
from scheduler.domain.watching import ends_as, name_matches, parts_of
from scheduler.domain.zones import zone
from schemas.event_trigger import EventTrigger, EventTriggerModel, WebhookTrigger
from schemas.happening_trigger import AllOfTrigger, EndedTrigger, SystemTrigger
from schemas.trigger_spec import EventTriggerSpec
from schemas.vocabulary import EventSource, Verdict

PUBLISHED: Final = frozenset({EventSource.AMQP, EventSource.CLI, EventSource.API})
"""The sources whose events have a topic that their sender chose."""
WEBHOOK_TOPIC: Final = "webhook."
"""Before the name of an endpoint: the topic of its events."""
MAX_DEPTH: Final = 8
"""So many runs may lead to an event, each started by the end of the one before; a longer chain is a loop."""
_MAX_KEY_CHARS: Final = 255


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
    depth: int = 0
    gap: str | None = None
    """Why it fires nothing: it was to stand for a whole of which parts did not happen."""

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
    """A trigger that an event fires. ``problem``: it starts no run, and why; ``verdict`` says so in a word."""

    trigger: Waiting
    params: dict[str, Any] | None = None
    problem: str | None = None
    verdict: Verdict = Verdict.INVALID
    parts: tuple[int, ...] = ()
    """Of a composite trigger, the parts that may have happened."""
    key: str = ""
    """What the trigger gathers events by."""


@dataclass(frozen=True, slots=True)
class Matched:
    """What an event comes to; ``notes`` say why triggers that have its topic did not fire."""

    matches: Sequence[Match] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Ear:
    """A trigger, or a part of one, that waits for events of its own."""

    trigger: Waiting
    spec: EventTriggerModel
    part: int | None = None


class EventTriggers:
    """The triggers of one tenant that wait for events, found by topic."""

    def __init__(self, triggers: Iterable[Waiting]) -> None:
        self.of_system: list[tuple[Waiting, SystemTrigger]] = []
        """Triggers, and parts of triggers, that wait for what happens to the scheduler."""
        self._exact: dict[str, list[Ear]] = {}
        self._patterns: list[tuple[str, Ear]] = []
        self._webhooks: dict[str, list[Ear]] = {}
        self._ends: list[tuple[EndedTrigger, Ear]] = []
        self._system: list[tuple[SystemTrigger, Ear]] = []
        self._by_id: dict[UUID, Waiting] = {}
        for trigger in triggers:
            self._by_id[trigger.id] = trigger
            for part, spec in parts_of(trigger.spec):
                self._add(Ear(trigger, spec, part))

    def match(self, event: Event) -> Matched:
        """Return which triggers ``event`` fires, each once and with its params."""
        found: dict[UUID, Match] = {}
        notes: list[str] = []
        for ear in self._candidates(event):
            if ear.trigger.id in found and not isinstance(ear.trigger.spec, AllOfTrigger):
                continue
            decided = _judge(ear, event)
            if isinstance(decided, Match):
                before = found.get(ear.trigger.id, decided)
                part = () if ear.part is None else (ear.part,)
                found[ear.trigger.id] = replace(before, parts=before.parts + part) if part else before
            else:
                notes.append(f"{ear.trigger.named}: {decided}")
        return Matched(list(found.values()), notes)

    def _add(self, ear: Ear) -> None:
        match ear.spec:
            case EventTrigger(event=spec):
                if {"*", "#"} & set(spec.topic.split(".")):
                    self._patterns.append((spec.topic, ear))
                else:
                    self._exact.setdefault(spec.topic, []).append(ear)
            case WebhookTrigger(webhook=name):
                self._webhooks.setdefault(f"{WEBHOOK_TOPIC}{name}", []).append(ear)
            case EndedTrigger():
                self._ends.append((ear.spec, ear))
            case SystemTrigger():
                self.of_system.append((ear.trigger, ear.spec))
                self._system.append((ear.spec, ear))
            case _:
                pass  # events of files and absences name their triggers

    def _candidates(self, event: Event) -> Iterator[Ear]:
        match event.source:
            case EventSource.WEBHOOK:
                yield from self._webhooks.get(event.topic, ())
            case EventSource.RUN:
                yield from (ear for spec, ear in self._ends if _is_end(spec, ear.trigger, event.data))
            case EventSource.SYSTEM:
                only = event.for_triggers
                wanted = event.data["wanted"]
                told = (ear for spec, ear in self._system if _words_of(spec) == wanted)
                yield from (ear for ear in told if only is None or ear.trigger.id in only)
            case source if source in PUBLISHED:
                yield from self._exact.get(event.topic, ())
                yield from (ear for pattern, ear in self._patterns if matches(pattern, event.topic))
            case _:
                named = (self._by_id[trigger] for trigger in event.for_triggers or () if trigger in self._by_id)
                yield from (Ear(trigger, trigger.spec) for trigger in named)


def _words_of(spec: SystemTrigger) -> dict[str, Any]:
    return spec.system.model_dump(mode="json", exclude_defaults=True)


def _is_end(spec: EndedTrigger, trigger: Waiting, data: Mapping[str, Any]) -> bool:
    """Whether it is an end that is waited for: never of the trigger's own job."""
    return (
        str(trigger.job_id) != data["job_id"]
        and ends_as(spec.ended.state, data["state"])
        and name_matches(spec.ended.job, data["job"])
    )


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


def _judge(ear: Ear, event: Event) -> Match | str:
    """Return the match, or why there is none though the topic fits."""
    trigger = ear.trigger
    spec = trigger.spec
    if (why := event.gap or _out_of_time(trigger, event.received_at)) is not None:
        return why
    words = event.words()
    waits = event.source is not EventSource.GATHERED and (spec.collect or isinstance(spec, AllOfTrigger))
    params, problem = (None, None) if waits else _params(trigger, words, event.received_at)
    for where in _wheres(ear, event):
        if (why := _filtered(trigger, where, words, params)) is not None:
            return why
    if problem is None and event.depth > MAX_DEPTH:
        return Match(trigger, None, f"{event.depth} runs led to it, one after the other", Verdict.LOOP)
    key = ""
    if spec.by is not None and event.source is not EventSource.GATHERED:
        try:
            key = render_text(spec.by, {"event": words, "run": _run(trigger, event.received_at)})[:_MAX_KEY_CHARS]
        except TemplateError as error:
            problem = f"by cannot be filled: {error}"
    return Match(trigger, params, problem, key=key)


def _out_of_time(trigger: Waiting, at: datetime) -> str | None:
    """Return why a trigger fires for nothing that comes at ``at``; None: it does."""
    spec = trigger.spec
    try:
        tz = zone(spec.timezone or (trigger.job.spec.timezone if trigger.job else "UTC"))
        starts_at, ends_at = borders_of(spec, tz)
    except ValueError as error:
        return str(error)
    if starts_at is not None and at < starts_at:
        return f"starts_at is {_text(starts_at)}"
    return f"ends_at was {_text(ends_at)}" if ends_at is not None and at > ends_at else None


def _wheres(ear: Ear, event: Event) -> Iterator[str]:
    """Yield what has to be true of ``event``: of a part, and of the whole when that is what has happened."""
    whole = ear.trigger.spec
    gathered = event.source is EventSource.GATHERED
    if ear.part is not None and ear.spec.where is not None:
        yield ear.spec.where
    once = whole.collect is None if gathered else not isinstance(whole, AllOfTrigger)
    if once and whole.where is not None:
        yield whole.where


def _filtered(trigger: Waiting, where: str, words: Mapping[str, Any], params: Mapping[str, Any] | None) -> str | None:
    """Return why ``where`` keeps an event from a trigger; None: it does not."""
    below = trigger.job.spec.params if trigger.job else {}
    try:
        said = compile_where(where).search({"event": words, "params": {**below, **(params or {})}})
    except (JMESPathError, ValueError, RecursionError) as error:
        return f"where cannot be asked of it: {str(error).splitlines()[0]}"
    no = said is None or said is False or (isinstance(said, str | list | dict) and not said)
    return "where is not true of it" if no else None


def _run(trigger: Waiting, fired_at: datetime) -> dict[str, Any]:
    return {"job": trigger.job.name if trigger.job else "", "attempt": 1, "fired_at": fired_at.isoformat()}


def _params(trigger: Waiting, words: Mapping[str, Any], fired_at: datetime) -> tuple[dict[str, Any] | None, str | None]:
    """Return the params of a run, literal, or why there can be none."""
    if not trigger.spec.params:
        return None, None
    try:
        return render_native(trigger.spec.params, {"event": words, "run": _run(trigger, fired_at)}), None
    except TemplateError as error:
        return None, f"the trigger's params cannot be filled: {error}"


def _text(instant: datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")
