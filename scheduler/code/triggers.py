"""Triggers in Python: each function returns what would stand under ``triggers`` in a definitions file."""

from collections.abc import Sequence
from typing import Any, Literal, TypedDict, Unpack

from scheduler.code.words import CatchUp, EventKeys, Moment, SimpleEventKeys, Span, Trigger, TriggerKeys

EndWord = Literal["succeeded", "failed", "cancelled", "skipped", "finished"]
SystemWord = Literal[
    "started", "stopping", "executor_lost", "disk_low", "tenant_database_down", "backlog_high", "run_long"
]


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


class MissingKeys(SimpleEventKeys, total=False):
    catch_up: CatchUp


class AllOfKeys(SimpleEventKeys, total=False):
    within: Span
    by: str


class AnyOfKeys(EventKeys, total=False):
    within: Span


class SystemKeys(EventKeys, total=False):
    after: Span
    job: str
    above: int
    pool: str
    below: str


class Ended(TypedDict):
    """Which ends of runs: of the job with that name, or of those that match a pattern with ``*``."""

    job: str
    state: EndWord


def on_ended(job: str, state: EndWord, **keys: Unpack[EventKeys]) -> Trigger:
    """Fire when a run of another job has ended: ``on_ended("backup-*", "failed")``."""
    return {"ended": {"job": job, "state": state}, **keys}


def on_system(on: SystemWord, **keys: Unpack[SystemKeys]) -> Trigger:
    """Fire when something happens to the scheduler: ``on_system("run_long", after="1h", job="backup-*")``."""
    given: dict[str, Any] = dict(keys)
    limits = {key: given.pop(key) for key in ("after", "job", "above", "pool", "below") if key in given}
    return {"system": {"on": on, **limits}, **given}


def on_missing(
    by: str, *, event: str | None = None, ended: Ended | None = None, **keys: Unpack[MissingKeys]
) -> Trigger:
    """Fire when something did not happen: ``on_missing("09:00", ended={"job": "backup", "state": "succeeded"})``."""
    what = {"event": event} if event is not None else {"ended": ended}
    return {"missing": {**what, "by": by}, **keys}


def all_of(*parts: Trigger, **keys: Unpack[AllOfKeys]) -> Trigger:
    """Fire when each part has happened: ``all_of(on_event("a"), on_ended("b", "succeeded"), within="1d")``."""
    return {"all_of": list(parts), **keys}


def any_of(*parts: Trigger, **keys: Unpack[AnyOfKeys]) -> Trigger:
    """Fire when any one of the parts happens, with ``within`` only once in so long."""
    return {"any_of": list(parts), **keys}
