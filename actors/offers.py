"""The Dispatcher's desk for offers: fills pools, publishes, and takes back what the broker did not take."""

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import structlog

from actors.base import Actor
from scheduler.crash import crash_point
from scheduler.errors import NotFoundError
from scheduler.ports import PublishOutcome
from scheduler.store.offering import Filled, Offering, Pace, withdraw
from scheduler.store.queries import queries
from scheduler.store.stores import Store
from schemas.commands import StartAttempt
from schemas.facts import RunSettled

if TYPE_CHECKING:
    from scheduler.store.pool import Connection

log: structlog.stdlib.BoundLogger = structlog.get_logger()

Q: Final = queries("offers")

_MEMORY: Final = 0.2
"""Weight of the newest attempt in the mean duration of a pool."""
_LIST_S: Final = 0.1
"""A list is done in about so long at most."""
_SHORTEST_S: Final = 1e-4
_LISTS_UNKNOWN: Final = 4
_CROWD_PAUSE_S: Final = 0.4
_CROWD_OFFERS: Final = 400
_LIST: Final = 50
"""Offers in one body, at most."""


class OfferDesk:
    """Offers of one store. Knows how fast pools work from what has settled; a hint, never a fact."""

    def __init__(self, actor: Actor, store: Store, offering: Offering, alive_s: float, resend_s: float) -> None:
        self._actor = actor
        self._store = store
        self._offering = offering
        self._alive_s = alive_s
        self._resend_s = resend_s
        self._elapsed: dict[str, float] = {}
        self._turns: dict[str, asyncio.Lock] = {}
        self.is_crowded = False
        """Whether a crowd of firings waits for verdicts, which go before offers."""
        self._put_off: set[str] = set()
        self._filled_at = actor.clock.monotonic()
        self._waiting: set[str] = set()

    def learn(self, settled: Iterable[RunSettled]) -> None:
        """Take the durations of settled attempts into the mean of their pools."""
        for fact in settled:
            if fact.elapsed_s is not None:
                before = self._elapsed.get(fact.pool, fact.elapsed_s)
                self._elapsed[fact.pool] = before + _MEMORY * (fact.elapsed_s - before)

    async def fill_backlogs(self) -> None:
        """Fill every pool that has a backlog."""
        async with self._store.connection() as db:
            pools = [row["pool"] for row in await db.fetch(Q["list_backlogs"])]
        await self.fill(pools)

    async def crowd(self, *, is_there: bool) -> None:
        """Let verdicts go before offers while a crowd waits for them: each pool gets a thousand a second at most.

        Offers of short jobs would take the machine from the verdicts of a crowd that became due at once.
        """
        gone = self.is_crowded and not is_there
        self.is_crowded = is_there
        if gone:
            put_off, self._put_off = self._put_off, set()
            await self.fill(put_off)

    async def fill(self, pools: Iterable[str]) -> None:
        """Offer what fits into the queues of ``pools``.

        Whoever finds that another fill of the pool has not begun yet leaves it to that one: it will
        see the same rows, and the lock of the pool's row is not stood in line for.
        """
        now = self._actor.clock.monotonic()
        if self.is_crowded and now - self._filled_at < _CROWD_PAUSE_S:
            self._put_off.update(pools)
            return
        self._filled_at = now
        put_off, self._put_off = self._put_off, set()
        for pool in sorted(put_off.union(pools)):
            if pool in self._waiting:
                continue
            self._waiting.add(pool)
            async with self._turns.setdefault(pool, asyncio.Lock()):
                self._waiting.discard(pool)
                async with self._store.transaction(flush=False) as db:
                    filled = await self._offering.fill(db, pool, self.pace(pool))
                await self.publish(pool, filled)

    async def repeat_unclaimed(self) -> None:
        """Say offers again that nobody claimed, unless their queue shows that they are all still there."""
        async with self._store.connection() as db:
            pools = [(row["pool"], row["queued"]) for row in await db.fetch(Q["find_unclaimed"])]
        for pool, queued in pools:
            ready = await self._count_ready(pool)
            async with self._store.transaction(flush=False) as db:
                if ready is None or ready >= queued:
                    await db.execute(Q["postpone_unclaimed"], pool, self._resend_s)
                    continue
                filled = await self._offering.repeat(db, pool, self.pace(pool))
            log.warning("offers.repeated", pool=pool, count=len(filled.offers))
            await self.publish(pool, filled)

    async def _count_ready(self, pool: str) -> int | None:
        """Return how many offers lie on the pool's queue; None when there is no such queue to offer on."""
        queue = f"scheduler.executor.{pool}"
        try:
            ready, _ = await self._actor.transport.depth(queue)
        except NotFoundError:
            log.warning("pool.queue_missing", pool=pool, queue=queue, remedy="scheduler broker declare")
            return None
        return ready

    async def fill_in(self, db: "Connection", pools: Iterable[str]) -> dict[str, Filled]:
        """Fill ``pools`` within a transaction of the caller, who publishes after it."""
        return {pool: await self._offering.fill(db, pool, self.pace(pool)) for pool in sorted(pools)}

    async def publish(self, pool: str, filled: Filled) -> None:
        """Publish offers that are committed, and take back those the broker did not take."""
        if not filled.offers:
            return
        crash_point("dispatcher.before_offer")
        size = list_size(filled, self._elapsed.get(pool))
        bodies = [filled.offers[at : at + size] for at in range(0, len(filled.offers), size)]
        outcomes = await self._actor.say("scheduler.offers", pool, filled.offers, size=size)
        crash_point("dispatcher.after_offer")
        failed: list[StartAttempt] = [
            offer
            for body, outcome in zip(bodies, outcomes, strict=True)
            if outcome is not PublishOutcome.STORED
            for offer in body
        ]
        if failed:
            log.warning("offers.withdrawn", pool=pool, count=len(failed))
            crash_point("dispatcher.before_withdrawal")
            async with self._store.transaction(flush=False) as db:
                await withdraw(db, failed)

    def pace(self, pool: str) -> Pace:
        """Return how fast ``pool`` works, as far as is known here."""
        most = _CROWD_OFFERS if self.is_crowded else None
        return Pace(self._alive_s, self._resend_s, self._elapsed.get(pool), most)


def list_size(filled: Filled, elapsed_s: float | None) -> int:
    """Return how many offers travel in one body, when an attempt takes ``elapsed_s`` (None: not known).

    A list goes to one executor, and fetching one by one would cost more than running short jobs. But
    what it has no free slot for waits there while another executor may have one: so a list holds no
    more than the slots that an executor gets free in a moment. Of a pool of which nothing is known
    yet, each executor gets its share in several lists.
    """
    executors = max(1, filled.executors)
    share = len(filled.offers) // executors
    if elapsed_s is None:
        free_soon = share // _LISTS_UNKNOWN
    else:
        free_soon = int(filled.slots / executors * _LIST_S / max(elapsed_s, _SHORTEST_S))
    return max(1, min(_LIST, share, free_soon))
