"""The run protocol as a small machine: one run, two executors, any number of the other actors.

PostgreSQL decides, messages only move work, every start is a claim. Messages lie in bags, so every
order is tried. Bad luck (a crash, a lost message) is a fault. Impatience (a claim sent again or given
up though its answer is under way, an offer swept though it still lies somewhere, a drain) and cancels
are no faults, but are counted too; the same steps are free where nothing would happen without them.
Change this file first when the protocol changes.
"""

from collections.abc import Iterator

from tests.model.executors import executors
from tests.model.state import (
    CANCELLED,
    FAILED,
    FINAL,
    GRANTED,
    MAX_ATTEMPTS,
    QUEUED,
    READY,
    RUNNING,
    ProtocolError,
    Row,
    Rules,
    State,
    Step,
    fresh_token,
    hasty,
    put,
    take,
)


def dispatcher(s: State, rules: Rules) -> Iterator[Step]:
    """Offer, publish, sweep what is not claimed, advance the DAG."""
    row = s.row
    this = (row.attempt, row.token)
    if row.state == READY:
        yield Step(
            "D commits the offer", s._replace(row=row._replace(state=QUEUED), publishing=put(s.publishing, this))
        )
    copies = this in s.publishing or this in s.offers or any(this == h.offer and h.phase < GRANTED for h in s.hands)
    if rules.sweep_offers and row.state == QUEUED:
        swept = s._replace(publishing=put(s.publishing, this))
        yield from hasty("D sweeps the unclaimed offer", s, swept, needed=not copies)
    for offer in set(s.publishing):
        rest = s._replace(publishing=take(s.publishing, offer))
        yield Step(f"D publishes {offer}", rest._replace(offers=put(s.offers, offer)))
        if s.faults:
            yield Step(f"D crashes before it publishes {offer}", rest, fault=True)
        if s.faults and row.state == QUEUED and offer == this:
            yield Step(f"the broker refuses {offer}", back_to_ready(rest, row.attempt), fault=True)
            kept = rest._replace(offers=put(rest.offers, offer))
            yield Step(f"the broker has {offer}, refuses it", back_to_ready(kept, row.attempt), fault=True)
    if s.hint:
        yield Step("D hears RunSettled", s._replace(hint=False, dag=s.dag or row.state in FINAL))
        if s.faults:
            yield Step("RunSettled is lost", s._replace(hint=False), fault=True)
    if rules.sweep_settled and row.state in FINAL and not s.dag:
        yield Step("D sweeps the end that is not advanced", s._replace(dag=True))


def database(s: State, rules: Rules) -> Iterator[Step]:
    """A crash of its server takes away the last commits that did not wait for the disk (docs/adr/0003)."""
    row = s.row
    if row.state == QUEUED:
        yield Step("the commit of the offer is lost", back_to_ready(s, row.attempt), fault=True)
    if s.dag:
        yield Step("the commit of the DAG step is lost", s._replace(dag=False), fault=True)
    if row.state == RUNNING and not rules.claims_flushed:
        yield Step("the commit of the claim is lost", s._replace(row=row._replace(state=QUEUED, owner=-1)), fault=True)


def person(s: State) -> Iterator[Step]:
    """Cancel: final at once unless an attempt runs, which is then asked to stop."""
    if s.cancels and s.row.state not in FINAL:
        asked = s._replace(cancels=s.cancels - 1, row=s.row._replace(cancel=True))
        yield Step("cancel", asked if s.row.state == RUNNING else settle(asked, CANCELLED))


def may_retry(s: State) -> bool:
    return s.row.attempt < MAX_ATTEMPTS and not s.row.cancel


def back_to_ready(s: State, attempt: int) -> State:
    """The attempt goes back to the backlog under a new token, unless somebody wants it cancelled."""
    if s.row.cancel:
        return settle(s, CANCELLED)
    return s._replace(row=Row(READY, attempt, fresh_token(s)))


def settle(s: State, state: str) -> State:
    return s._replace(row=s.row._replace(state=state), hint=True)


def recorder(s: State, rules: Rules) -> Iterator[Step]:
    """Each message is one statement; a crash after the commit repeats it, with or without its answer."""
    for claim in set(s.claims):
        attempt, token, c, executor = claim
        rest = s._replace(claims=take(s.claims, claim))
        row = decided(s, claim, rules)
        granted = row.owner == c and row.state == RUNNING if rules.owner_checked else row.state == RUNNING
        answer = put(s.replies, (c, executor, granted, attempt, token)) if executor >= 0 else s.replies
        yield Step(f"R {'grants' if granted else 'denies'} c{c}", rest._replace(row=row, replies=answer))
        if s.faults:
            yield Step(f"R decides c{c}, crashes before it answers", s._replace(row=row), fault=True)
            yield Step(f"the claim c{c} is lost", rest, fault=True)
    for handed in set(s.returns):
        rest = s._replace(returns=take(s.returns, handed))
        after = returned(rest, handed, rules)
        yield Step(f"R takes back {handed}", after)
        if s.faults:
            yield Step(f"R takes back {handed}, crashes before the ack", after._replace(returns=s.returns), fault=True)
            yield Step(f"the return {handed} is lost", rest, fault=True)
    for end in set(s.ends):
        rest = s._replace(ends=take(s.ends, end))
        after = ended(rest, end, rules)
        yield Step(f"R stores the end of c{end[2]}", after)
        if s.faults:
            unsaid = s._replace(row=after.row, hint=s.hint)
            yield Step(f"R stores the end of c{end[2]}, crashes before it says so", unsaid, fault=True)
            yield Step(f"the end of c{end[2]} is lost", rest, fault=True)
    if s.row.state == RUNNING and (s.faults or not alive(s)):
        yield Step("R finds the lease run out", expired(s, rules), fault=alive(s))


def decided(s: State, claim: tuple[int, int, int, int], rules: Rules) -> Row:
    """The one conditional UPDATE behind a claim."""
    attempt, token, c, _ = claim
    fits = (attempt, token) == (s.row.attempt, s.row.token) or not rules.claims_fenced
    is_open = s.row.state == QUEUED or (s.row.state == RUNNING and s.row.owner == c)
    return s.row._replace(state=RUNNING, owner=c) if fits and is_open else s.row


def returned(s: State, handed: tuple[int, int, int], rules: Rules) -> State:
    attempt, token, c = handed
    holder = -1 if s.row.state == QUEUED else s.row.owner
    fits = (attempt, token, c) == (s.row.attempt, s.row.token, holder) or not rules.returns_fenced
    return back_to_ready(s, s.row.attempt) if fits and s.row.state in {QUEUED, RUNNING} else s


def ended(s: State, end: tuple[int, int, int, str], rules: Rules) -> State:
    attempt, token, c, outcome = end
    fits = (attempt, token, c) == (s.row.attempt, s.row.token, s.row.owner) or not rules.ends_fenced
    if not fits or s.row.state != RUNNING:
        return s
    if attempt != s.row.attempt:
        raise ProtocolError("the end of an older attempt counts")
    if outcome == FAILED and may_retry(s):
        return back_to_ready(s, attempt + 1)
    return settle(s, outcome)


def expired(s: State, rules: Rules) -> State:
    if not rules.new_attempt_after_loss:
        return s._replace(row=s.row._replace(state=READY, owner=-1))
    if may_retry(s):
        return back_to_ready(s, s.row.attempt + 1)
    return settle(s, CANCELLED if s.row.cancel else FAILED)


def alive(s: State) -> bool:
    """Whether somebody still speaks for the running attempt: then only a fault lets its lease run out."""
    owner = s.row.owner
    return (
        any(h.claim == owner for h in s.hands)
        or any(owner == each[2] for each in (*s.claims, *s.returns, *s.ends))
        or any(owner == reply[0] for reply in s.replies)
    )


def steps(s: State, rules: Rules) -> Iterator[Step]:
    """Every step that may be next; faults only while some may still happen."""
    yield from dispatcher(s, rules)
    if s.faults:
        yield from database(s, rules)
    yield from person(s)
    yield from executors(s, rules)
    yield from recorder(s, rules)
