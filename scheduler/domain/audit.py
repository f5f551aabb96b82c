"""The words of the audit log: who, did what, to what, and how that ended."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

DEFAULT_TENANT: Final = "default"
"""It is always there; its row comes with its first job."""
_LONGEST: Final = 200


class AuditAction(StrEnum):
    """What was done. The list is closed: programs may go by it."""

    PAUSE = "pause"
    RESUME = "resume"
    ENABLE = "enable"
    DISABLE = "disable"
    TRIGGER = "trigger"
    RETRY = "retry"
    CANCEL = "cancel"
    DISCARD = "discard"
    BACKFILL = "backfill"
    PUBLISH = "publish"
    CREATE = "create"
    CHANGE = "change"
    DELETE = "delete"
    CLEAR = "clear"
    DRAIN = "drain"
    UNDRAIN = "undrain"
    SUSPEND = "suspend"
    ACTIVATE = "activate"
    MOVE = "move"
    REVOKE = "revoke"
    REBUILD = "rebuild"
    PRUNE = "prune"
    ACCESS = "access"
    """Somebody asked for what is not theirs: the entry is a denial."""


class AuditKind(StrEnum):
    """What it was done to."""

    JOB = "job"
    RUN = "run"
    BACKFILL = "backfill"
    EVENT = "event"
    CALENDAR = "calendar"
    WEBHOOK = "webhook"
    POOL = "pool"
    EXECUTOR = "executor"
    TENANT = "tenant"
    KEY = "key"
    TOKEN = "token"  # noqa: S105 - a word
    BROKER = "broker"
    HISTORY = "history"
    OPERATION = "operation"
    """Of the HTTP interface, by its address."""


class AuditResult(StrEnum):
    DONE = "done"
    DENIED = "denied"


@dataclass(frozen=True, slots=True)
class By:
    """On whose behalf a store is used. Every change made through it is written down as theirs."""

    actor: str
    """``cli:USER@HOST``, ``client:…``, ``up:…``; ``key:ID``, ``jwt:SUB``, ``loopback``; ``system:ACTOR``."""
    tenant: str = DEFAULT_TENANT
    """Theirs. What is done to what belongs to no tenant, a pool or an executor, is in its log."""
    address: str | None = None
    """Where the request came from; None: it did not come over HTTP."""
    request_id: str | None = None


def plain(text: str) -> str:
    """Return what a stranger said as text that can be stored: bounded, no NUL, no half character."""
    return text[:_LONGEST].encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")[:_LONGEST]
