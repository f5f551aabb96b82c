"""Triggers in Python: each function returns what would stand under ``triggers`` in a definitions file."""

from collections.abc import Sequence
from typing import Literal, TypedDict, Unpack

from scheduler.code.words import EventKeys, Moment, Span, Trigger, TriggerKeys


class CronKeys(TriggerKeys, total=False):
    seconds: bool
    day_match: Literal["any", "all"]


class EveryKeys(TriggerKeys, total=False):
    anchor: Moment


class CalendarDay(TypedDict, total=False):
    """Which days: exactly one of business_day, month_end, quarter_end and date; ``at`` is the time of day."""

    business_day: int | Literal["every"]
    month_end: Literal["day", "business"]
    quarter_end: Literal["day", "business"]
    date: str
    at: str
    calendar: str
    country: str
    offset_days: int
    roll: Literal["following", "preceding", "modified_following", "none"]


def cron(expression: str, **keys: Unpack[CronKeys]) -> Trigger:
    """Fire at the wall times of a cron expression: ``cron("0 2 * * *", timezone="Asia/Tokyo")``."""
    return {"cron": expression, **keys}


def every(interval: Span, **keys: Unpack[EveryKeys]) -> Trigger:
    """Fire at a fixed distance: ``every("15m")``, ``every(timedelta(hours=1))``, ``every("1 month")``."""
    return {"every": interval, **keys}


def at(*times: Moment, **keys: Unpack[TriggerKeys]) -> Trigger:
    """Fire once at each of the times."""
    return {"at": list(times), **keys}


def calendar(day: CalendarDay, **keys: Unpack[TriggerKeys]) -> Trigger:
    """Fire on days of a business calendar: ``calendar({"business_day": -1, "at": "18:00", "country": "JP"})``."""
    return {"calendar": day, **keys}


class FileWatch(TypedDict, total=False):
    """Which changes of which files below ``path``."""

    path: str
    match: str | Sequence[str]
    changes: Sequence[Literal["added", "modified", "deleted"]]
    settle: Span
    recursive: bool
    min_size: str


def on_event(topic: str, **keys: Unpack[EventKeys]) -> Trigger:
    """Fire for events of publishers: ``on_event("orders.*.created", where="event.data.amount > `100`")``."""
    return {"event": {"topic": topic}, **keys}


def on_webhook(name: str, **keys: Unpack[EventKeys]) -> Trigger:
    """Fire for each request that an endpoint of ``webhooks`` accepts: ``on_webhook("uploads")``."""
    return {"webhook": name, **keys}


def on_file(watch: FileWatch, **keys: Unpack[EventKeys]) -> Trigger:
    """Fire for files that come, change or go: ``on_file({"path": "/data/in", "match": "*.csv"})``."""
    return {"file": watch, **keys}
