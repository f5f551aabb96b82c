"""Decides the firings that nobody is told of: those whose message was lost, and crowds that were planned ahead."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final
from uuid import UUID

from actors.offers import OfferDesk
from scheduler.clock import Clock
from scheduler.errors import TransientError
from scheduler.store.stores import Store
from scheduler.store.sweeping import find_forgotten, postpone_firing, spare

SWEEP_BATCH: Final = 500
_LANES: Final = 2
"""So many batches of a crowd are decided at a time: one is computed while the other waits for the database."""

_LONGEST_S: Final = 1.0
"""So long at most a crowd keeps the other parts of a sweep waiting."""
Decide = Callable[[Sequence[UUID] | None], Awaitable[int]]
"""Decides the given firings, or the next batch of those that are overdue; returns how many it looked at."""


async def decide_forgotten(store: Store, desk: OfferDesk, decide: Decide, clock: Clock) -> None:
    """Decide firings that are overdue; one that cannot be decided is found, logged and postponed.

    While more than a batch waits, verdicts go before offers (``OfferDesk.crowd``); after about a second the
    caller has other things to look at, and comes again as long as the desk is crowded.
    """
    crowd = False
    try:
        if await decide(None) == SWEEP_BATCH:
            await desk.crowd(is_there=True)
            crowd = await _in_lanes(decide, clock)
    except TransientError:
        raise
    except Exception:  # noqa: BLE001 - one of them is to blame
        while found := await find_forgotten(store, SWEEP_BATCH):
            await spare(found, decide, partial(postpone_firing, store))
            if len(found) < SWEEP_BATCH:
                break
    await desk.crowd(is_there=crowd)


async def _in_lanes(decide: Decide, clock: Clock) -> bool:
    until = clock.monotonic() + _LONGEST_S
    lanes = [asyncio.create_task(_decide_until(decide, clock, until), name=f"lane {n}") for n in range(_LANES)]
    try:
        return any(await asyncio.gather(*lanes))  # the other may have seen few, the rest being in hand here
    finally:
        for lane in lanes:
            lane.cancel()
        await asyncio.gather(*lanes, return_exceptions=True)


async def _decide_until(decide: Decide, clock: Clock, until: float) -> bool:
    """Decide batch by batch; True when there was no end of them until then."""
    while await decide(None) == SWEEP_BATCH:
        if clock.monotonic() >= until:
            return True
    return False
