"""What ``scheduler doctor`` says of one thing: well or not, what it is, and what to do."""

from dataclasses import dataclass
from enum import StrEnum


class Health(StrEnum):
    OK = "ok"
    WARN = "warn"
    """Works, and may surprise."""
    FAIL = "fail"
    """Does not work."""


@dataclass(frozen=True, slots=True)
class Finding:
    name: str
    health: Health
    found: str
    advice: str | None = None
    """What to do; None where nothing is to be done."""


def ok(name: str, found: str) -> Finding:
    return Finding(name, Health.OK, found)


def warn(name: str, found: str, advice: str) -> Finding:
    return Finding(name, Health.WARN, found, advice)


def fail(name: str, found: str, advice: str) -> Finding:
    return Finding(name, Health.FAIL, found, advice)
