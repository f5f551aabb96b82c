"""Claims under way: which offers were asked for, under which claim id, and since when.

A claim is pending from its first sending until it is answered or given up. Only a pending claim
may be granted: a grant that comes after the claim was given up is handed back, because the offer
may have been claimed by another executor in the belief that this one had died.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from actors.executing.offers import Offer
from schemas.commands import AttemptReturned, ClaimAttempt, StartAttempt
from schemas.vocabulary import ReturnReason
from schemas.work import WorkOrder

ANSWER_WITHIN_S: Final = 5.0
"""An unanswered claim is sent again once after this long, and given up after as long again."""
_REMEMBERED: Final = 10_000
_COUNTER: Final = (1 << 64) - 1


@dataclass(slots=True)
class Claim:
    """One claim; ``sent_at`` is the monotonic instant of its last sending, ``asked_at`` of its first."""

    offer: Offer
    claim_id: UUID
    sent_at: float
    asked_at: float
    again: bool = False


class Claims:
    """The claims of one boot of an executor."""

    def __init__(self, executor: str, boot_id: UUID) -> None:
        self._executor = executor
        self._boot_id = boot_id
        self._made = 0
        self._pending: dict[UUID, Claim] = {}  # in order of ``sent_at``
        self._given_up: OrderedDict[UUID, StartAttempt] = OrderedDict()
        self._none = asyncio.Event()
        self._none.set()

    def __len__(self) -> int:
        return len(self._pending)

    def orders(self) -> Iterator[WorkOrder]:
        """Yield what is claimed and not yet answered."""
        return (claim.offer.start.order for claim in self._pending.values())

    def ask(self, offer: Offer, now: float) -> ClaimAttempt:
        """Make a claim for one delivery of an offer, with an id of its own, and return its message.

        The id is the random half of the boot id with a counter: unlike any other of this or
        another boot, and free of a system call for each claim.
        """
        self._made += 1
        claim = Claim(offer, UUID(int=(self._boot_id.int & ~_COUNTER) | self._made), now, now)
        self._pending[claim.claim_id] = claim
        self._none.clear()
        return self._message(claim)

    def answered(self, claim_id: UUID) -> Claim | None:
        """Return the pending claim, which thereby ends; None when it is not pending here."""
        claim = self._pending.pop(claim_id, None)
        if not self._pending:
            self._none.set()
        return claim

    async def none(self) -> None:
        """Return when no claim is pending."""
        await self._none.wait()

    def overdue(self, now: float) -> tuple[list[ClaimAttempt], list[Offer]]:
        """Return the claims to send again, with the same ids, and the offers that are given up."""
        again: list[ClaimAttempt] = []
        given_up: list[Offer] = []
        late = [claim for claim in self._pending.values() if now - claim.sent_at >= ANSWER_WITHIN_S]
        for claim in late:
            del self._pending[claim.claim_id]
            if claim.again:
                self._remember(claim)
                given_up.append(claim.offer)
            else:
                claim.again, claim.sent_at = True, now
                self._pending[claim.claim_id] = claim
                again.append(self._message(claim))
        if not self._pending:
            self._none.set()
        return again, given_up

    def late_grant(self, claim_id: UUID) -> AttemptReturned | None:
        """Return what to answer to a grant of a claim given up before; None for any other claim.

        A second grant of a claim that was started here is such another one: handing that back
        would start the attempt twice.
        """
        start = self._given_up.pop(claim_id, None)
        return None if start is None else returned(start, ReturnReason.LATE_GRANT, claim_id)

    def _message(self, claim: Claim) -> ClaimAttempt:
        start = claim.offer.start
        return ClaimAttempt(
            tenant=start.tenant,
            run_id=start.run_id,
            attempt=start.attempt,
            lease_token=start.lease_token,
            claim_id=claim.claim_id,
            executor=self._executor,
            boot_id=self._boot_id,
        )

    def _remember(self, claim: Claim) -> None:
        self._given_up[claim.claim_id] = claim.offer.start
        if len(self._given_up) > _REMEMBERED:
            self._given_up.popitem(last=False)


def returned(start: StartAttempt, reason: ReturnReason, claim_id: UUID | None = None) -> AttemptReturned:
    return AttemptReturned(
        tenant=start.tenant,
        run_id=start.run_id,
        attempt=start.attempt,
        lease_token=start.lease_token,
        claim_id=claim_id,
        reason=reason,
    )
