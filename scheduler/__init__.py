"""A job scheduler of asyncio actors on RabbitMQ and PostgreSQL.

For jobs written in Python: ``from scheduler import job, cron, every, on_event, Retry``. Each name is
loaded when it is first asked for, so that importing this package costs nothing; see docs/python-api.md.
"""

TYPE_CHECKING = False  # not from typing: a python child starts without it
if TYPE_CHECKING:
    from scheduler.client.answers import Attempt, Fired, Log, Run
    from scheduler.client.client import Client
    from scheduler.client.sync import SyncClient
    from scheduler.code.job import file_keys, job
    from scheduler.code.triggers import (
        all_of,
        any_of,
        at,
        calendar,
        cron,
        every,
        on_ended,
        on_event,
        on_file,
        on_missing,
        on_system,
        on_webhook,
    )
    from scheduler.code.words import CatchUp, Concurrency, Dst, Need, Retention, Retry, Secret, Timeout, Unique
    from scheduler.sandbox.handlers import HandlerContext
    from scheduler.testing.scheduler import TestScheduler

__version__ = "0.1.0"

_HOMES = {
    "scheduler.client.answers": ("Attempt", "Fired", "Log", "Run"),
    "scheduler.client.client": ("Client",),
    "scheduler.client.sync": ("SyncClient",),
    "scheduler.code.job": ("file_keys", "job"),
    "scheduler.code.triggers": (
        *("all_of", "any_of", "at", "calendar", "cron", "every"),
        *("on_ended", "on_event", "on_file", "on_missing", "on_system", "on_webhook"),
    ),
    "scheduler.code.words": (
        *("CatchUp", "Concurrency", "Dst", "Need", "Retention", "Retry", "Secret", "Timeout", "Unique"),
    ),
    "scheduler.sandbox.handlers": ("HandlerContext",),
    "scheduler.testing.scheduler": ("TestScheduler",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Attempt",
    "CatchUp",
    "Client",
    "Concurrency",
    "Dst",
    "Fired",
    "HandlerContext",
    "Log",
    "Need",
    "Retention",
    "Retry",
    "Run",
    "Secret",
    "SyncClient",
    "TestScheduler",
    "Timeout",
    "Unique",
    "all_of",
    "any_of",
    "at",
    "calendar",
    "cron",
    "every",
    "file_keys",
    "job",
    "on_ended",
    "on_event",
    "on_file",
    "on_missing",
    "on_system",
    "on_webhook",
]


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
