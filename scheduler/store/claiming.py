"""Claims and returns: the two ways an offer ends. Each is one conditional UPDATE for the whole batch."""

from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

from scheduler.store.doorbell import WAKE, WORK
from scheduler.store.queries import queries
from scheduler.store.stores import Store
from schemas.commands import AttemptReturned, ClaimAttempt
from schemas.vocabulary import ReturnReason

Q: Final = queries("attempts")
_RING: Final = queries("triggers")["ring"]

_PAUSES: Final[Mapping[ReturnReason, tuple[float, str]]] = {
    ReturnReason.NO_HANDLER: (5.0, "handed back by an executor that does not have its handler"),
    ReturnReason.NO_SANDBOX: (5.0, "handed back by an executor that cannot run isolation: sandbox"),
    ReturnReason.NO_LABEL: (5.0, "handed back by an executor that does not have its labels"),
    ReturnReason.NO_ROOM: (2.0, "handed back by an executor that has no room for its resources"),
}
"""Seconds until it is looked at again, and why, for people."""


async def claim(store: Store, claims: Sequence[ClaimAttempt], lease_s: float) -> set[UUID]:
    """Decide a batch of claims; return the claim ids that hold their attempt now.

    Two claims of one attempt in a batch: one of them is granted. A claim asked again is answered
    as before, as long as its attempt runs.
    """
    claims = sorted(claims, key=lambda claim: claim.run_id)
    async with store.connection() as db:
        rows = await db.fetch(
            Q["claim_attempts"],
            [claim.run_id for claim in claims],
            [claim.attempt for claim in claims],
            [claim.lease_token for claim in claims],
            [claim.claim_id for claim in claims],
            [claim.executor for claim in claims],
            [claim.boot_id for claim in claims],
            lease_s,
        )
    return {owner for _, owner in rows}


async def take_back(store: Store, returned: Sequence[AttemptReturned]) -> int:
    """Put attempts that were handed back unstarted into the backlog; return how many moved.

    One that its executor cannot run, not ever or not now, is looked at again after a pause.
    """
    returned = sorted(returned, key=lambda back: back.run_id)
    pauses = [_PAUSES.get(back.reason, (0.0, None)) for back in returned]
    async with store.transaction() as db:
        rows = await db.fetch(
            Q["return_attempts"],
            [back.run_id for back in returned],
            [back.attempt for back in returned],
            [back.lease_token for back in returned],
            [back.claim_id for back in returned],
            [pause_s for pause_s, _ in pauses],
            [why for _, why in pauses],
        )
        if rows:
            await db.execute(_RING, WORK, "")
        if any(pause_s for pause_s, _ in pauses):
            await db.execute(_RING, WAKE, "")
    return len(rows)
