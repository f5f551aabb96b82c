"""What the model knows: the row, the messages under way, the deliveries in hand; and the rules that can be broken."""

from collections.abc import Iterator
from typing import Any, NamedTuple

READY, QUEUED, RUNNING, SUCCEEDED, FAILED, CANCELLED = "ready", "queued", "running", "succeeded", "failed", "cancelled"
FINAL = frozenset({SUCCEEDED, FAILED, CANCELLED})
MAX_ATTEMPTS = 2
MAX_HANDS = 2

HELD, CLAIMED, CLAIMED_AGAIN, GRANTED, STARTED, ENDED = range(6)
"""Phases of a delivery in an executor's hand. The offer is acked on the way to GRANTED."""


class Rules(NamedTuple):
    """The protocol; each False is a planted bug that the model has to find."""

    claims_fenced: bool = True
    """A claim must name the attempt and lease token of the row."""
    claims_flushed: bool = True
    """A claim is on disk before it is answered."""
    returns_fenced: bool = True
    ends_fenced: bool = True
    owner_checked: bool = True
    """A running attempt is granted again only to the claim that has it."""
    claim_id_per_delivery: bool = True
    """Else one per executor."""
    claim_before_start: bool = True
    sweep_offers: bool = True
    sweep_settled: bool = True
    new_attempt_after_loss: bool = True
    late_grant_returned: bool = True
    """Else the executor starts what it has given up, as if it still had the offer."""
    ends_remembered: bool = True
    """An executor knows its claims until their ends are stored: a grant repeated meanwhile is not a late one."""
    ends_repeated: bool = True
    """An end is sent again until it is known to be stored, also after a crash."""


class Row(NamedTuple):
    state: str = READY
    attempt: int = 1
    token: int = 0
    owner: int = -1
    cancel: bool = False


class Hand(NamedTuple):
    """One delivery of an offer in an executor: ``holds`` while it is unsettled in a living session."""

    executor: int
    phase: int
    holds: bool
    attempt: int
    token: int
    claim: int
    outcome: str = ""
    """How its attempt ended."""

    @property
    def offer(self) -> tuple[int, int]:
        return self.attempt, self.token

    @property
    def key(self) -> tuple[int, int, int]:
        return self.attempt, self.token, self.claim


class State(NamedTuple):
    row: Row = Row()
    dag: bool = False
    publishing: tuple[tuple[int, int], ...] = ()
    """Offers that a Dispatcher has committed and not yet published: (attempt, token)."""
    offers: tuple[tuple[int, int], ...] = ()
    hands: tuple[Hand, ...] = ()
    claims: tuple[tuple[int, int, int, int], ...] = ()
    """(attempt, token, claim, executor); executor -1: its control queue is gone."""
    replies: tuple[tuple[int, int, bool, int, int], ...] = ()
    """(claim, executor, granted, attempt, token)."""
    returns: tuple[tuple[int, int, int], ...] = ()
    """(attempt, token, claim); claim -1: never claimed."""
    ends: tuple[tuple[int, int, int, str], ...] = ()
    """(attempt, token, claim, outcome)."""
    hint: bool = False
    """A RunSettled is under way."""
    starts: tuple[int, ...] = (0,) * MAX_ATTEMPTS
    faults: int = 0
    """Faults that may still happen."""
    cancels: int = 0
    """Cancels that a person may still ask for."""
    haste: int = 0
    """Impatient steps that may still be taken."""


class Step(NamedTuple):
    label: str
    state: State
    fault: bool = False


class ProtocolError(Exception):
    """The protocol did what it must not; ``str()`` says what."""


def put(bag: tuple[Any, ...], item: Any) -> tuple[Any, ...]:
    return tuple(sorted((*bag, item)))


def take(bag: tuple[Any, ...], item: Any) -> tuple[Any, ...]:
    index = bag.index(item)
    return bag[:index] + bag[index + 1 :]


def unused(taken: set[int]) -> int:
    return next(number for number in range(len(taken) + 1) if number not in taken)


def fresh_token(s: State) -> int:
    """Return a token that nothing remembers; numbers are reused so that the states are finite."""
    pairs = (*s.publishing, *s.offers, *((h.attempt, h.token) for h in s.hands))
    triples = (*s.claims, *s.returns, *s.ends)
    known = {token for _, token in pairs} | {each[1] for each in triples} | {reply[4] for reply in s.replies}
    return unused(known | {s.row.token})


def fresh_claim(s: State) -> int:
    known = {h.claim for h in s.hands} | {claim[2] for claim in s.claims} | {reply[0] for reply in s.replies}
    return unused(known | {each[2] for each in (*s.returns, *s.ends)} | {s.row.owner})


def hasty(label: str, before: State, after: State, *, needed: bool) -> Iterator[Step]:
    """Yield a step that is free when it is ``needed`` and else uses up some haste."""
    if needed:
        yield Step(label, after)
    elif before.haste:
        yield Step(f"{label} early", after._replace(haste=before.haste - 1))
