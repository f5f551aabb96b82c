"""What is handed back unstarted: said until the broker has it, and only then acked."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from actors.executing.claims import returned
from actors.executing.offers import Offer
from scheduler.clock import Clock
from scheduler.ports import PublishOutcome
from schemas.commands import AttemptReturned
from schemas.vocabulary import ReturnReason

_RETRY_PAUSE_S: Final = 1.0

Say = Callable[[Sequence[AttemptReturned]], Awaitable[list[PublishOutcome]]]


class Returns:
    """A queue of AttemptReturned; ``settle`` hears of each offer whose return the broker has."""

    def __init__(self, say: Say, settle: Callable[[Offer], None], clock: Clock) -> None:
        self._say = say
        self._settle = settle
        self._clock = clock
        self._waiting: deque[tuple[AttemptReturned, Offer | None]] = deque()
        self._some = asyncio.Event()
        self._none = asyncio.Event()
        self._none.set()

    def offer(self, offer: Offer, reason: ReturnReason) -> None:
        """Hand back an offer that was never claimed."""
        self._add(returned(offer.start, reason), offer)

    def grant(self, message: AttemptReturned, offer: Offer | None = None) -> None:
        """Hand back a granted claim; ``offer`` is to be settled with it, if it is still in hand."""
        self._add(message, offer)

    async def none(self) -> None:
        """Return when the broker has all of it."""
        await self._none.wait()

    async def send(self) -> None:
        """Send what waits, until cancelled."""
        while True:
            await self._some.wait()
            batch = list(self._waiting)
            outcomes = await self._say([message for message, _ in batch])
            if any(outcome is not PublishOutcome.STORED for outcome in outcomes):
                await self._clock.sleep(_RETRY_PAUSE_S)
                continue
            for _, offer in batch:
                self._waiting.popleft()
                if offer is not None:
                    self._settle(offer)
            if not self._waiting:
                self._some.clear()
                self._none.set()

    def _add(self, message: AttemptReturned, offer: Offer | None) -> None:
        self._waiting.append((message, offer))
        self._some.set()
        self._none.clear()
