"""The executors' part: two processes, at most MAX_HANDS deliveries in their hands together."""

from collections.abc import Iterator
from typing import Any

from tests.model.state import (
    CANCELLED,
    CLAIMED,
    CLAIMED_AGAIN,
    ENDED,
    FAILED,
    GRANTED,
    HELD,
    MAX_HANDS,
    RUNNING,
    STARTED,
    SUCCEEDED,
    Hand,
    Rules,
    State,
    Step,
    fresh_claim,
    hasty,
    put,
    take,
)


def executors(s: State, rules: Rules) -> Iterator[Step]:
    for offer in set(s.offers):
        if len(s.hands) < MAX_HANDS:
            for executor in (0, 1):
                claim = fresh_claim(s) if rules.claim_id_per_delivery else executor
                hand = Hand(executor, HELD, True, *offer, claim)
                rest = s._replace(offers=take(s.offers, offer))
                yield Step(f"X{executor} gets {offer} as c{claim}", rest._replace(hands=put(s.hands, hand)))
        if s.faults:
            yield Step(f"the broker loses {offer}", s._replace(offers=take(s.offers, offer)), fault=True)
    for hand in set(s.hands):
        yield from in_hand(s._replace(hands=take(s.hands, hand)), hand, rules)
    yield from answers(s, rules)
    for executor in (0, 1):
        if s.faults and any(hand.executor == executor for hand in s.hands):
            yield Step(f"X{executor} crashes", crashed(s, executor, rules), fault=True)


def in_hand(rest: State, hand: Hand, rules: Rules) -> Iterator[Step]:
    """What one delivery may do next; ``rest`` is the state without it."""
    if hand.phase == HELD:
        yield from held(rest, hand, rules)
    elif hand.phase in {CLAIMED, CLAIMED_AGAIN}:
        yield from unanswered(rest, hand)
    elif hand.phase == GRANTED:
        counts = list(rest.starts)
        counts[hand.attempt - 1] += 1
        yield Step(f"{name(hand)} STARTS", keep(rest._replace(starts=tuple(counts)), hand, phase=STARTED))
    elif hand.phase == STARTED:
        for outcome in (SUCCEEDED, FAILED, CANCELLED)[: 3 if rest.row.cancel else 2]:
            sent = rest._replace(ends=put(rest.ends, (*hand.key, outcome)))
            known = keep(sent, hand, phase=ENDED, outcome=outcome) if rules.ends_remembered else sent
            yield Step(f"{name(hand)} ends {outcome}", known)
    elif not any(end[2] == hand.claim for end in rest.ends):
        if rest.row.state != RUNNING or rest.row.owner != hand.claim:
            yield Step(f"{name(hand)} learns that its end is stored", rest)
        elif rules.ends_repeated:
            sent = rest._replace(ends=put(rest.ends, (*hand.key, hand.outcome)))
            yield Step(f"{name(hand)} sends its end again", keep(sent, hand))
    if rest.faults and hand.holds:
        back = rest._replace(offers=put(rest.offers, hand.offer))
        yield Step(f"{name(hand)} loses its session, lives on", keep(back, hand, holds=False), fault=True)


def name(hand: Hand) -> str:
    return f"X{hand.executor} with c{hand.claim}"


def keep(rest: State, hand: Hand, **changes: Any) -> State:
    return rest._replace(hands=put(rest.hands, hand._replace(**changes)))


def held(rest: State, hand: Hand, rules: Rules) -> Iterator[Step]:
    """An offer in hand is claimed, or handed back by an executor that drains."""
    if not rules.claim_before_start:
        yield Step(f"{name(hand)} takes the offer", keep(rest, hand, phase=GRANTED, holds=False))
        return
    asked = rest._replace(claims=put(rest.claims, (*hand.key, hand.executor)))
    yield Step(f"{name(hand)} claims", keep(asked, hand, phase=CLAIMED))
    handed = rest._replace(returns=put(rest.returns, (*hand.offer, -1)))
    yield from hasty(f"{name(hand)} drains, hands back", rest, handed, needed=False)


def unanswered(rest: State, hand: Hand) -> Iterator[Step]:
    """Claim once more under the same id, then forget it."""
    answer_may_come = any(hand.claim == claim[2] for claim in rest.claims) or any(
        hand.claim == reply[0] for reply in rest.replies
    )
    if hand.phase == CLAIMED:
        asked = rest._replace(claims=put(rest.claims, (*hand.key, hand.executor)))
        again = keep(asked, hand, phase=CLAIMED_AGAIN)
        yield from hasty(f"{name(hand)} claims again", rest, again, needed=not answer_may_come)
    else:
        yield from hasty(f"{name(hand)} gives the claim up", rest, rest, needed=not answer_may_come)


def answers(s: State, rules: Rules) -> Iterator[Step]:
    """An answer meets the claim it is for, or nobody: then a grant is handed back."""
    for reply in set(s.replies):
        claim, executor, granted, attempt, token = reply
        rest = s._replace(replies=take(s.replies, reply))
        if s.faults:
            yield Step(f"the answer to c{claim} is lost", rest, fault=True)
        waiting = [h for h in s.hands if h[0] == executor and h.claim == claim and h.phase in {CLAIMED, CLAIMED_AGAIN}]
        for hand in waiting:
            others = take(s.hands, hand)
            kept = put(others, hand._replace(phase=GRANTED, holds=False)) if granted else others
            yield Step(f"X{executor} hears c{claim} {'granted' if granted else 'denied'}", rest._replace(hands=kept))
        if waiting:
            continue
        known = any(h.claim == claim and h.executor == executor for h in s.hands)
        if granted and not known and rules.late_grant_returned:
            handed = rest._replace(returns=put(s.returns, (attempt, token, claim)))
            yield Step(f"X{executor} hands back the late grant c{claim}", handed)
        elif granted and not rules.late_grant_returned and len(s.hands) < MAX_HANDS:
            started = put(s.hands, Hand(executor, GRANTED, False, attempt, token, claim))
            yield Step(f"X{executor} takes the late grant c{claim}", rest._replace(hands=started))
        else:
            yield Step(f"X{executor} hears c{claim} once more", rest)


def crashed(s: State, executor: int, rules: Rules) -> State:
    """Its deliveries go back, its control queue goes away, its spool stays on disk."""
    mine = [h for h in s.hands if h.executor == executor]
    offers = s.offers
    for hand in mine:
        if hand.holds:
            offers = put(offers, hand.offer)
    return s._replace(
        offers=offers,
        hands=tuple(h for h in s.hands if h.executor != executor or (h.phase == ENDED and rules.ends_repeated)),
        claims=tuple(sorted((*c[:3], -1) if c[3] == executor else c for c in s.claims)),
        replies=tuple(r for r in s.replies if r[1] != executor),
    )
