"""When an attempt is asked to stop and when it is killed. Pure: instants are handed in."""

import math
from enum import Enum

from schemas.vocabulary import Outcome
from schemas.work import TimeLimits

_LONGEST_WAIT_S = 3600.0


class Step(Enum):
    """What to do to the job now."""

    WAIT = "wait"
    ASK = "ask"
    """SIGTERM, or CancelledError."""
    KILL = "kill"


class Ladder:
    """The time limits of one attempt and the wish to stop it, as one list of instants.

    ``soft_s`` after the start the job is asked, ``grace_s`` after it was asked it is killed, and
    ``hard_s`` after the start it is killed in any case. A wish to stop asks now. The first cause
    is the one that is recorded.
    """

    __slots__ = ("_ask_at", "_grace_s", "_kill_at", "_limits", "outcome", "reason")

    def __init__(self, limits: TimeLimits, now: float) -> None:
        self._limits = limits
        self._grace_s = limits.grace_s
        self._ask_at = math.inf if limits.soft_s is None else now + limits.soft_s
        self._kill_at = now + limits.hard_s
        self.outcome: Outcome | None = None
        """Set as soon as we interfere; then it is the attempt's outcome, whatever the job says."""
        self.reason: str | None = None

    @property
    def due(self) -> float:
        """The instant of the next step."""
        return min(self._ask_at, self._kill_at)

    def wait_s(self, now: float) -> float:
        """Seconds until then; an hour at most, since event loops take no infinite timers."""
        return min(max(0.0, self.due - now), _LONGEST_WAIT_S)

    def stop(self, reason: str, now: float, *, at_once: bool) -> Step:
        """Somebody wants the job to stop."""
        if at_once:
            self._interfere(Outcome.CANCELLED, reason)
            self._ask_at = self._kill_at = math.inf
            return Step.KILL
        if self.outcome is not None:
            return Step.WAIT
        return self._ask(Outcome.CANCELLED, reason, now)

    def step(self, now: float) -> Step:
        """Return what is due at ``now``."""
        if now >= self._kill_at:
            self._interfere(Outcome.TIMED_OUT, f"killed after the hard timeout of {self._limits.hard_s:g} s")
            self._ask_at = self._kill_at = math.inf
            return Step.KILL
        if now >= self._ask_at:
            return self._ask(
                Outcome.TIMED_OUT, f"asked to stop after the soft timeout of {self._limits.soft_s:g} s", now
            )
        return Step.WAIT

    def _ask(self, outcome: Outcome, reason: str, now: float) -> Step:
        self._interfere(outcome, reason)
        self._ask_at = math.inf
        self._kill_at = min(self._kill_at, now + self._grace_s)
        return Step.ASK

    def _interfere(self, outcome: Outcome, reason: str) -> None:
        if self.outcome is None:
            self.outcome, self.reason = outcome, reason
