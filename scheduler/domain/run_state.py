"""The only place where a run's moves are written.

Rule 1: every move of a run is in TRANSITIONS. Rule 2: no I/O here, and no idea which actor asks.
The diagram in docs/run-states.md, the ``from`` state of each UPDATE and the exhaustive test are
derived from the table. Counting is not in it: attempts, leases and reasons are columns.
"""

from enum import StrEnum
from typing import Final

from schemas.vocabulary import RunState as S


class Move(StrEnum):
    RELEASE = "release"
    """Its needs are met and their delays over, and it is its turn."""
    OFFER = "offer"
    RETURN = "return"
    """The offer or the claim was handed back unstarted."""
    POSTPONE = "postpone"
    """The offer was handed back by an executor that cannot run it."""
    CLAIM = "claim"
    FINISH = "finish"
    RETRY = "retry"
    """The attempt failed or was lost, and there may be another."""
    WAKE = "wake"
    GIVE_UP = "give_up"
    CANCEL = "cancel"
    SKIP = "skip"


TRANSITIONS: Final[dict[S, dict[Move, S]]] = {
    S.WAITING: {Move.RELEASE: S.READY, Move.SKIP: S.SKIPPED, Move.CANCEL: S.CANCELLED},
    S.READY: {Move.OFFER: S.QUEUED, Move.GIVE_UP: S.FAILED, Move.SKIP: S.SKIPPED, Move.CANCEL: S.CANCELLED},
    S.QUEUED: {
        Move.CLAIM: S.RUNNING,
        Move.RETURN: S.READY,
        Move.POSTPONE: S.BACKING_OFF,
        Move.GIVE_UP: S.FAILED,
        Move.SKIP: S.SKIPPED,
        Move.CANCEL: S.CANCELLED,
    },
    S.RUNNING: {
        Move.FINISH: S.SUCCEEDED,
        Move.RETRY: S.BACKING_OFF,
        Move.RETURN: S.READY,
        Move.POSTPONE: S.BACKING_OFF,
        Move.GIVE_UP: S.FAILED,
        Move.CANCEL: S.CANCELLED,
        Move.SKIP: S.SKIPPED,
    },
    S.BACKING_OFF: {Move.WAKE: S.READY, Move.SKIP: S.SKIPPED, Move.CANCEL: S.CANCELLED},
    S.SUCCEEDED: {},
    S.FAILED: {},
    S.CANCELLED: {},
    S.SKIPPED: {},
}

FINAL: Final = frozenset(state for state, moves in TRANSITIONS.items() if not moves)
ACTIVE: Final = frozenset({S.READY, S.QUEUED, S.RUNNING, S.BACKING_OFF})
"""What counts for ``overlap`` and ``max_running``: started or about to, not held by needs."""


def after(state: S, move: Move) -> S | None:
    """Return the state that ``move`` leads to from ``state``; None if it is not allowed there."""
    return TRANSITIONS[state].get(move)


def sources(move: Move) -> tuple[S, ...]:
    """Return the states that ``move`` may start from; what an UPDATE's WHERE names."""
    return tuple(state for state, moves in TRANSITIONS.items() if move in moves)


CANCELLED_AT_ONCE: Final = tuple(state for state in sources(Move.CANCEL) if state is not S.RUNNING)
"""Nobody holds an attempt of such a run; one that runs ends when its executor says so."""
