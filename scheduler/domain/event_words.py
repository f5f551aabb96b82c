"""Triggers that wait for events, in words for people."""

from typing import assert_never

from schemas.durations import format_duration
from schemas.event_trigger import EventTrigger, FileTrigger, WebhookTrigger
from schemas.sizes import format_size
from schemas.trigger_spec import EventTriggerSpec


def say_wait(trigger: EventTriggerSpec) -> str:
    """Return on one line what ``trigger`` waits for."""
    filtered = f", where {trigger.where}" if trigger.where is not None else ""
    until = f", {trigger.max_fires} times" if trigger.max_fires is not None else ""
    return f"{_what(trigger)}{filtered}{until}"


def _what(trigger: EventTriggerSpec) -> str:
    match trigger:
        case EventTrigger(event=event):
            return f"events with topic {event.topic}"
        case WebhookTrigger(webhook=name):
            return f"requests to webhook {name}"
        case FileTrigger(file=file):
            changes = " or ".join(change.value for change in file.changes)
            below = " and below" if file.recursive else ""
            least = f" of at least {format_size(file.min_size)}" if file.min_size else ""
            settled = format_duration(file.settle)
            return f"files {' '.join(file.match)}{least} {changes} in {file.path}{below}, unchanged for {settled}"
        case _:
            assert_never(trigger)
