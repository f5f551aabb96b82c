"""Decides the firings that nobody is told of: those whose message was lost, and crowds that were planned ahead."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final
from uuid import UUID

from actors.offers import OfferDesk
from scheduler.errors import TransientError
from scheduler.store.stores import Store
from scheduler.store.sweeping import find_forgotten, postpone_firing, spare

SWEEP_BATCH: Final = 500
_LANES: Final = 2
"""So many batches of a crowd are decided at a time: one is computed while the other waits for the database."""

Decide = Callable[[Sequence[UUID] | None], Awaitable[int]]
"""Decides the given firings, or the next batch of those that are overdue; returns how many got a verdict."""


async def decide_forgotten(store: Store, desk: OfferDesk, decide: Decide) -> None:
    """Decide every firing that is overdue; one that cannot be decided is found, logged and postponed.

    While more than a batch of them waits, verdicts go before offers: see ``OfferDesk.crowded``.
    """
    try:
        if await decide(None) == SWEEP_BATCH:
            async with desk.crowded():
                await _in_lanes(decide)
    except TransientError:
        raise
    except Exception:  # noqa: BLE001 - one of them is to blame
        while found := await find_forgotten(store, SWEEP_BATCH):
            await spare(found, decide, partial(postpone_firing, store))
            if len(found) < SWEEP_BATCH:
                return


async def _in_lanes(decide: Decide) -> None:
    lanes = [asyncio.create_task(_decide_all(decide), name=f"lane {number}") for number in range(_LANES)]
    try:
        await asyncio.gather(*lanes)
    finally:
        for lane in lanes:
            lane.cancel()
        await asyncio.gather(*lanes, return_exceptions=True)


async def _decide_all(decide: Decide) -> None:
    while await decide(None) == SWEEP_BATCH:
        pass
