"""Visit every state that the protocol can reach with a number of faults, and check each."""

from collections import deque
from typing import NamedTuple

from tests.model.protocol import steps
from tests.model.state import FINAL, Hand, ProtocolError, Rules, State

_SWAP = {0: 1, 1: 0, -1: -1}


class Report(NamedTuple):
    states: int
    violation: str | None
    trace: tuple[str, ...]
    """How it came to the violation; the shortest way there."""


def search(rules: Rules, *, faults: int = 0, haste: int = 0, cancels: int = 0) -> Report:
    """Return the first violation, by the shortest trace, or the number of states without any."""
    start = State(faults=faults, cancels=cancels, haste=haste)
    came_from: dict[State, tuple[State, str] | None] = {start: None}
    waiting = deque([start])
    while waiting:
        state = waiting.popleft()
        try:
            moved = False
            for label, following, fault in steps(state, rules):
                moved = moved or not fault
                check_step(state, following)
                canonical = mirrored(following._replace(faults=state.faults - 1) if fault else following)
                if canonical not in came_from:
                    came_from[canonical] = (state, f"** {label}" if fault else label)
                    waiting.append(canonical)
            if not moved:
                check_rest(state)
        except ProtocolError as wrong:
            return Report(len(came_from), str(wrong), trace(came_from, state))
    return Report(len(came_from), None, ())


def check_step(before: State, after: State) -> None:
    if max(after.starts) > 1:
        raise ProtocolError("an attempt is started twice")
    if before.row.state in FINAL and after.row != before.row:
        raise ProtocolError("a settled run changes")
    if after.dag and after.row.state not in FINAL:
        raise ProtocolError("the DAG goes on before the run is settled")


def check_rest(state: State) -> None:
    """Nothing more happens by itself: then everything must have happened."""
    if state.row.state not in FINAL:
        raise ProtocolError("the run is never settled")
    if not state.dag:
        raise ProtocolError("the DAG is stuck")


def mirrored(state: State) -> State:
    """Return the lesser of the two states that differ only in the names of the executors."""
    if not state.hands and not state.claims and not state.replies:
        return state
    hands = tuple(sorted([Hand(1 - h[0], *h[1:]) for h in state.hands]))
    claims = tuple(sorted([(*c[:3], _SWAP[c[3]]) for c in state.claims]))
    replies = tuple(sorted([(r[0], _SWAP[r[1]], *r[2:]) for r in state.replies]))
    if (state.hands, state.claims, state.replies) <= (hands, claims, replies):
        return state
    return state._replace(hands=hands, claims=claims, replies=replies)


def trace(came_from: dict[State, tuple[State, str] | None], state: State) -> tuple[str, ...]:
    labels: list[str] = []
    while (origin := came_from[state]) is not None:
        state, label = origin
        labels.append(label)
    return tuple(reversed(labels))
