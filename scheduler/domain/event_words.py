"""Triggers that wait for events, in words for people."""

from collections.abc import Iterable
from typing import Final, assert_never

from schemas.durations import format_duration
from schemas.event_trigger import EventTrigger, EventTriggerModel, FileTrigger, WebhookTrigger
from schemas.happening_trigger import (
    AllOfTrigger,
    AnyOfTrigger,
    EndedSpec,
    EndedTrigger,
    EndState,
    MissingTrigger,
    SystemEvent,
    SystemSpec,
    SystemTrigger,
)
from schemas.sizes import format_size
from schemas.trigger_spec import EventTriggerSpec

_HAPPENS: Final = {
    SystemEvent.STARTED: "the scheduler to start",
    SystemEvent.STOPPING: "the scheduler to stop",
    SystemEvent.TENANT_DATABASE_DOWN: "a tenant's own database that cannot be reached",
}


def say_wait(trigger: EventTriggerSpec) -> str:
    """Return on one line what ``trigger`` waits for."""
    filtered = f", where {trigger.where}" if trigger.where is not None else ""
    until = f", {trigger.max_fires} times" if trigger.max_fires is not None else ""
    return f"{_what(trigger)}{filtered}{_gathered(trigger)}{until}"


def _gathered(trigger: EventTriggerSpec) -> str:
    said = []
    if trigger.debounce is not None:
        said.append(f"when no other has come for {format_duration(trigger.debounce)}")
    if trigger.throttle is not None:
        said.append(f"at most {trigger.throttle}")
    if trigger.collect is not None:
        within = format_duration(trigger.collect.within)
        said.append(f"one run for up to {trigger.collect.max} that come within {within}")
    by = f", each {trigger.by} for itself" if trigger.by is not None else ""
    return "".join(f", {words}" for words in said) + by


def _what(trigger: EventTriggerSpec) -> str:
    match trigger:
        case AllOfTrigger(all_of=parts, within=within):
            return f"all of ({_listed(parts)}) within {format_duration(within)}"
        case AnyOfTrigger(any_of=parts, within=within):
            once = f", once in {format_duration(within)}" if within is not None else ""
            return f"any of ({_listed(parts)}){once}"
        case FileTrigger(file=file):
            changes = " or ".join(change.value for change in file.changes)
            below = " and below" if file.recursive else ""
            least = f" of at least {format_size(file.min_size)}" if file.min_size else ""
            settled = format_duration(file.settle)
            return f"files {' '.join(file.match)}{least} {changes} in {file.path}{below}, unchanged for {settled}"
        case MissingTrigger(missing=missing):
            what = f"events with topic {missing.event}" if missing.ended is None else _end(missing.ended)
            return f"the absence of {what}, looked for each day at {missing.by}"
        case EventTrigger() | WebhookTrigger() | EndedTrigger() | SystemTrigger():
            return _simple(trigger)
        case _:
            assert_never(trigger)


def _simple(trigger: EventTriggerModel) -> str:
    match trigger:
        case EventTrigger(event=event):
            return f"events with topic {event.topic}"
        case WebhookTrigger(webhook=name):
            return f"requests to webhook {name}"
        case EndedTrigger(ended=ended):
            return _end(ended)
        case SystemTrigger(system=system):
            return _system(system)
        case _:
            raise TypeError(f"{trigger.kind} has parts of its own")


def _listed(parts: Iterable[EventTriggerModel]) -> str:
    return "; ".join(_simple(part) + (f", where {part.where}" if part.where is not None else "") for part in parts)


def _end(ended: EndedSpec) -> str:
    jobs = "other jobs" if ended.job == "*" else f"jobs {ended.job}" if "*" in ended.job else f"job {ended.job}"
    state = "end" if ended.state is EndState.FINISHED else f"end as {ended.state}"
    return f"runs of {jobs} that {state}"


def _system(system: SystemSpec) -> str:
    match system.on:
        case SystemEvent.RUN_LONG:
            after = format_duration(system.after) if system.after is not None else ""
            return f"runs of {'other jobs' if system.job == '*' else system.job} that go on for more than {after}"
        case SystemEvent.BACKLOG_HIGH:
            return f"more than {system.above} runs that are ready in pool {system.pool}"
        case SystemEvent.EXECUTOR_LOST:
            return f"an executor of pool {system.pool} that is lost"
        case SystemEvent.DISK_LOW:
            return f"less than {format_size(system.below)} that is free"
        case _:
            return _HAPPENS[system.on]
