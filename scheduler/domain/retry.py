"""What follows the end of an attempt: the run is over, or there is another attempt after a wait."""

from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Final

from scheduler.domain.run_state import Move
from schemas.durations import format_duration
from schemas.job_spec import RetrySpec
from schemas.vocabulary import Backoff, OnLost, Outcome

MAX_LOSSES: Final = 5
"""Lost attempts after which a run is given up. One loss is a machine's bad day; a job that takes five
executors with it is the cause (memory, a crash of the interpreter) and would go on for ever."""
MAX_RETRY_AFTER: Final = timedelta(days=1)
"""A wish for a longer wait is cut to this: a wrong header must not shelve a run for years."""

SHORTEST_SNOOZE: Final = timedelta(seconds=1)
LONGEST_SNOOZE: Final = timedelta(days=7)

_TIMEOUT: Final = "timeout"
_LOST: Final = "lost"
_TOLD: Final = {
    Outcome.LOST: "the attempt was lost",
    Outcome.TIMED_OUT: "timed out",
    Outcome.OUT_OF_LIMITS: "exceeded a limit",
}


@dataclass(frozen=True, slots=True)
class EndFacts:
    """How an attempt ended, as far as the decision needs it."""

    outcome: Outcome
    exit_code: int | None = None
    http_status: int | None = None
    """For a run of kind http, whose numbers in ``on`` and ``not_on`` are statuses; else they are exit codes."""
    exception: str | None = None
    """Class name, with or without its module."""
    exception_bases: tuple[str, ...] = ()
    """Names of the classes that it is derived from: to name one of those is to name it."""
    retry_after_s: float | None = None
    reason: str | None = None
    """One line that says more for people than the facts above; decides nothing."""


@dataclass(frozen=True, slots=True)
class Decision:
    move: Move
    """FINISH, RETRY, GIVE_UP or CANCEL."""
    delay: timedelta | None
    """The wait before the next attempt; None unless the move is RETRY."""
    reason: str
    """One line for people."""


def judge(end: EndFacts, *, attempt: int, losses: int, spec: RetrySpec, on_lost: OnLost, rng: Random) -> Decision:
    """Decide what follows the end of attempt number ``attempt``, those that were snoozed not counted.

    ``losses`` counts the lost attempts of the run, this one included. A lost attempt that is run
    again by ``on_lost: rerun`` uses up none of ``spec.attempts``; MAX_LOSSES bounds it. With
    ``on_lost: fail`` a loss is final, unless ``retry.on`` names ``lost``: then it is an ordinary
    retry. ``not_on`` wins over ``on``.
    """
    if end.outcome is Outcome.SUCCEEDED:
        return Decision(Move.FINISH, None, "succeeded")
    if end.outcome is Outcome.CANCELLED:
        return Decision(Move.CANCEL, None, "cancelled")
    if end.outcome is Outcome.SNOOZED:
        return _snooze(end)
    told = _told(end)
    if refusal := _refusal(end, spec, on_lost):
        return Decision(Move.GIVE_UP, None, f"{told}; {refusal}")
    if end.outcome is Outcome.LOST and on_lost is OnLost.RERUN:
        return _rerun(told, losses, spec, rng)
    return _retry(end, attempt - (losses if on_lost is OnLost.RERUN else 0), spec, rng)


def _snooze(end: EndFacts) -> Decision:
    delay = min(max(timedelta(seconds=end.retry_after_s or 0), SHORTEST_SNOOZE), LONGEST_SNOOZE)
    return Decision(Move.RETRY, delay, f"asked to be run later, in {_text(delay)}")


def _retry(end: EndFacts, used: int, spec: RetrySpec, rng: Random) -> Decision:
    told = _told(end)
    if used >= spec.attempts:
        return Decision(Move.GIVE_UP, None, f"{told}; attempt {used} of {spec.attempts}")
    delay = max(_wait(spec, used, rng), _wish(end))
    return Decision(Move.RETRY, delay, f"{told}; attempt {used} of {spec.attempts}, the next in {_text(delay)}")


def _refusal(end: EndFacts, spec: RetrySpec, on_lost: OnLost) -> str | None:
    """Return why the kind of this end allows no further attempt; None if it allows one."""
    if matching := _first_match(end, spec.not_on):
        return f"retry.not_on names {matching}"
    named = _first_match(end, spec.on) is not None
    if end.outcome is Outcome.LOST:
        return None if on_lost is OnLost.RERUN or named else "on_lost is fail"
    return "retry.on does not name it" if spec.on and not named else None


def _rerun(told: str, losses: int, spec: RetrySpec, rng: Random) -> Decision:
    """Run a lost attempt again: at once for the first loss, as its lease was wait enough."""
    if losses >= MAX_LOSSES:
        return Decision(Move.GIVE_UP, None, f"{told}, {losses} times by now; at most {MAX_LOSSES} are allowed")
    delay = _wait(spec, losses - 1, rng) if losses > 1 else timedelta(0)
    return Decision(Move.RETRY, delay, f"{told}; run again in {_text(delay)}")


def _told(end: EndFacts) -> str:
    if end.reason is not None and end.outcome is not Outcome.LOST:
        return end.reason
    if end.outcome in _TOLD:
        return _TOLD[end.outcome]
    if end.http_status is not None:
        return f"HTTP status {end.http_status}"
    if end.exception is not None:
        return f"raised {end.exception}"
    return "failed" if end.exit_code is None else f"exit code {end.exit_code}"


def _first_match(end: EndFacts, reasons: tuple[int | str, ...]) -> str | None:
    """Return the first of ``reasons`` that names this end, as text."""
    return next((str(reason) for reason in reasons if _names(reason, end)), None)


def _names(reason: int | str, end: EndFacts) -> bool:
    if isinstance(reason, int):
        return reason == (end.exit_code if end.http_status is None else end.http_status)
    if reason == _TIMEOUT:
        return end.outcome is Outcome.TIMED_OUT
    if reason == _LOST:
        return end.outcome is Outcome.LOST
    names = () if end.exception is None else (end.exception, *end.exception_bases)
    return any(name == reason or name.endswith(f".{reason}") for name in names)


def _wait(spec: RetrySpec, count: int, rng: Random) -> timedelta:
    """Return the wait after the ``count``th try, from 1: backoff, cap, then jitter, never above the cap."""
    cap = spec.max.total_seconds()
    seconds = spec.initial.total_seconds()
    if spec.backoff is Backoff.LINEAR:
        seconds *= count
    elif spec.backoff is Backoff.EXPONENTIAL:
        try:
            seconds *= spec.factor ** (count - 1)
        except OverflowError:
            seconds = cap if seconds else 0.0
    seconds = min(seconds, cap)
    seconds += seconds * spec.jitter * (2 * rng.random() - 1)
    return timedelta(seconds=min(seconds, cap))


def _wish(end: EndFacts) -> timedelta:
    if not end.retry_after_s:
        return timedelta(0)
    return timedelta(seconds=min(end.retry_after_s, MAX_RETRY_AFTER.total_seconds()))


def _text(delay: timedelta) -> str:
    return format_duration(timedelta(milliseconds=delay // timedelta(milliseconds=1)))
