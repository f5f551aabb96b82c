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
    is the one that is recorded, with the kill that a job needed which did not heed it.
    """

    __slots__ = ("_ask_at", "_cause", "_grace_s", "_kill_after", "_kill_at", "_killed", "_limits", "outcome")

    def __init__(self, limits: TimeLimits, now: float) -> None:
        self._limits = limits
        self._grace_s = limits.grace_s
        self._ask_at = math.inf if limits.soft_s is None else now + limits.soft_s
        self._kill_at = now + limits.hard_s
        self.outcome: Outcome | None = None
        """Set as soon as we interfere; then it is the attempt's outcome, whatever the job says."""
        self._cause = ""
        self._kill_after = f"the hard timeout of {limits.hard_s:g} s"
        self._killed = ""

    @property
    def reason(self) -> str:
        """Why we interfered, and after what the job was killed if that was needed."""
        return self.said("killed")

    def said(self, killed: str) -> str:
        """Return the reason, with a word of the caller's for what the kill has come to."""
        return ", ".join(filter(None, (self._cause, self._killed and f"{killed} {self._killed}")))

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
            if self.outcome is not None:
                self._killed = "at once" if reason == self._cause else f"at once: {reason}"
            self._interfere(Outcome.CANCELLED, reason)
            return self._kill()
        if self.outcome is not None:
            return Step.WAIT
        return self._ask(Outcome.CANCELLED, reason, now)

    def step(self, now: float) -> Step:
        """Return what is due at ``now``."""
        if now >= self._kill_at:
            self._killed = f"after {self._kill_after}"
            self._interfere(Outcome.TIMED_OUT, "")
            return self._kill()
        if now >= self._ask_at:
            return self._ask(
                Outcome.TIMED_OUT, f"asked to stop after the soft timeout of {self._limits.soft_s:g} s", now
            )
        return Step.WAIT

    def _ask(self, outcome: Outcome, reason: str, now: float) -> Step:
        self._interfere(outcome, reason)
        self._ask_at = math.inf
        if now + self._grace_s < self._kill_at:
            self._kill_at, self._kill_after = now + self._grace_s, f"the grace of {self._grace_s:g} s"
        return Step.ASK

    def _kill(self) -> Step:
        self._ask_at = self._kill_at = math.inf
        return Step.KILL

    def _interfere(self, outcome: Outcome, cause: str) -> None:
        if self.outcome is None:
            self.outcome, self._cause = outcome, cause
