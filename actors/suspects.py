"""Suspects: messages that come again. One of them may have ended the process that had it in hand.

The broker tells only that a message was delivered before, and of a classic queue not how often. So
each such message is taken in hand alone, noted before and forgotten afterwards: a note that is
found is a reader that ended over it. What is delivered for the first time costs nothing.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from pydantic_core import to_json

from scheduler.counts import COUNTS
from scheduler.errors import TransientError
from scheduler.ports import CrashBook, Delivery

Deal = Callable[[Any], Awaitable[None]]
Bury = Callable[[Delivery, Any, str], Awaitable[None]]

CRASHES: Final = 3
"""A message whose readers ended this often while it alone was in hand goes to the dead letters."""


class Suspects:
    """Shared by all actors of a process: while one suspect is in hand, no other is, or it would be noted too."""

    def __init__(self, book: CrashBook) -> None:
        self._book = book
        self._alone = asyncio.Lock()

    @asynccontextmanager
    async def in_hand(self, delivery: Delivery) -> AsyncIterator[int]:
        """Hold a delivery; yields how many readers ended while they held it alone.

        Raises:
            TransientError: it cannot be noted now, and must not be handled.
        """
        COUNTS.redelivered[delivery.queue] += 1
        async with self._alone, self._noted(delivery.queue, delivery.body) as crashes:
            yield crashes

    async def one_by_one(self, delivery: Delivery, elements: Sequence[Any], deal: Deal, bury: Bury) -> None:
        """Deal with each element of a delivery in hand alone, and bury those over which readers ended.

        That a reader ends over an element no longer counts for the delivery as a whole.
        """
        digest = self.digest(delivery.queue, delivery.body)
        await self._book.forget(digest)
        await self._book.note(digest, delivery.queue)
        for element in elements:
            async with self._noted(delivery.queue, to_json(element, inf_nan_mode="constants")) as crashes:
                if crashes >= CRASHES:
                    await bury(delivery, element, reason(crashes))
                else:
                    await deal(element)

    @staticmethod
    def digest(queue: str, body: bytes) -> bytes:
        """Return what a body on a queue is noted as."""
        return hashlib.sha256(queue.encode() + b"\0" + body).digest()

    @asynccontextmanager
    async def _noted(self, queue: str, body: bytes) -> AsyncIterator[int]:
        digest = self.digest(queue, body)
        try:
            yield await self._book.note(digest, queue)
        finally:
            with suppress(TransientError):  # a note that stays is one crash too many, and grows old
                await self._book.forget(digest)


def reason(crashes: int) -> str:
    """Return what the dead letter says."""
    return f"its reader ended {crashes} times while it had nothing but this message in hand"
