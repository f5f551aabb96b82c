"""The gates between a run and its start, in their order, and what each says of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID


class Gate(StrEnum):
    """What a run has to pass, in this order."""

    TENANT = "tenant"
    """It is not suspended."""
    NEEDS = "needs"
    DELAY = "delay"
    """The delay of a need, or the wait between two attempts."""
    TURN = "turn"
    """Overlap: the runs of its job before it."""
    CONCURRENCY = "concurrency"
    RATE = "rate"
    CIRCUIT = "circuit"
    """The circuit breaker of its http target."""
    EXECUTOR = "executor"
    """An executor that is alive and can run it."""
    QUEUE = "queue"
    """Room on the queue of its pool."""
    CLAIM = "claim"
    """It is offered: an executor with a free slot takes it."""


@dataclass(frozen=True, slots=True)
class Found:
    """What one gate says of a run; ``runs`` are those in the way, at most 20 of them."""

    gate: Gate
    holds: bool
    reason: str
    runs: Sequence[UUID] = ()


def held_by(gates: Sequence[Found]) -> Found | None:
    """Return the first gate that holds the run; None: nothing does."""
    return next((found for found in gates if found.holds), None)
