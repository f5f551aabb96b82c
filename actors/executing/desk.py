"""The desk: takes offers from the pool's queue, claims what slots are free for, settles every delivery."""

import asyncio
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

import structlog

from actors.executing.claims import Claims, returned
from actors.executing.fence import is_spent
from actors.executing.offers import Offer, Offers
from actors.executing.returns import Returns
from actors.executing.room import Room
from actors.executing.running import Grant
from actors.executing.settings import ExecutorSettings
from actors.executing.window import Window
from scheduler.clock import Clock
from scheduler.crash import crash_point
from scheduler.ports import Consumer, Delivery, PublishOutcome
from schemas.commands import AttemptReturned, StartAttempt
from schemas.facts import ClaimAnswered
from schemas.message import Message
from schemas.vocabulary import ReturnReason
from schemas.work import WorkOrder

log: structlog.stdlib.BoundLogger = structlog.get_logger()

Post = Callable[[str, Sequence[Message]], "list[asyncio.Future[PublishOutcome]]"]
"""Publishes messages under a routing key, one future for each body."""

_TICK_S: Final = 0.5
_LONGEST_IN_HAND_S: Final = 2.0
"""What is left of a list after so long is handed back: the slots are busy with long jobs."""
_LONGEST_ASIDE_S: Final = 10.0
"""What finds no room for its resources in so long is handed back, for executors that have some."""
_LONGEST_RESERVED_S: Final = 300.0
"""Unless that has happened to it often: then what gets free is kept for it for so long."""


@dataclass(frozen=True, slots=True)
class Site:
    """What of its executor the desk has to know."""

    busy: Callable[[], int]
    """How many slots are taken."""
    refusal: Callable[[WorkOrder], ReturnReason | None]
    """Why it is not for this executor at all; None: it is."""
    learn: Callable[[Iterable[StartAttempt]], None]
    """Hears what is offered."""
    orders: Callable[[], Iterable[WorkOrder]]
    """Of the attempts that run."""


class Desk:
    """Everything of an offer's life before its start."""

    def __init__(
        self,
        settings: ExecutorSettings,
        boot_id: uuid.UUID,
        clock: Clock,
        post: Post,
        site: Site,
    ) -> None:
        self._slots = settings.slots
        self._clock = clock
        self._post = post
        self._busy = site.busy
        self._refusal = site.refusal
        self._learn = site.learn
        self._offers = Offers()
        self._claims = Claims(settings.name, boot_id)
        self._room = Room(settings, lambda: chain(site.orders(), self._claims.orders()))
        self._consumer: Consumer | None = None
        self.closed = False
        self.hold: str | None = None
        """Why nothing new is taken although the executor does not end; None: offers are taken."""
        self.opened = asyncio.Event()
        """Set when it takes offers for the first time: a Recorder has heard of the executor and lets it."""
        self.returns = Returns(self._say_returned, self._offers.settle, clock)
        self.window = Window(settings.slots, clock, self._give_back)

    @property
    def free(self) -> int:
        """Slots that neither run an attempt nor wait for the answer to a claim."""
        return 0 if self.shut else self._slots - self._busy() - len(self._claims)

    @property
    def shut(self) -> bool:
        """Whether nothing new is taken: for good, or while somebody wants it so."""
        return self.closed or self.hold is not None

    async def heed(self, hold: str | None) -> bool:
        """Take nothing new while ``hold`` says why; what is claimed and not granted yet is handed back.

        Returns whether that is another wish than before.
        """
        before, self.hold = self.hold, hold
        if hold is None and not self.opened.is_set():
            self.opened.set()
        if hold == before or self.closed:
            return False
        log.info("offers.held" if hold is not None else "offers.taken_again", reason=hold)
        if hold is None:
            await self.window.reopen()
            self.claim()
        elif before is None:
            await self._shut()
            await self.ack()
        return True

    def attach(self, consumer: Consumer) -> None:
        """Take charge of the pool queue's consumer, which was opened with the window's credit."""
        self._consumer = consumer
        self.window.attach(consumer)

    async def take(self, taken: Sequence[tuple[Delivery, Sequence[StartAttempt]]]) -> None:
        """Take deliveries with their readable elements in hand."""
        if self.shut:
            if self._consumer is not None:
                await self._consumer.release([delivery for delivery, _ in taken])
            return
        now = self._clock.monotonic()
        for delivery, starts in taken:
            self._learn(starts)
            self._offers.take(delivery, starts, now)
        self.claim()
        await self.ack()

    def claim(self) -> None:
        """Claim as many waiting offers as slots are free, in one batch; tell the window how it stands."""
        free = self.free
        if free > 0 and (len(self._offers) or self._room.aside):
            now = self._clock.monotonic()
            wanted = self._pick(free)
            if wanted:
                crash_point("executor.before_claim_sent")
                self._post("attempt.claim", [self._claims.ask(offer, now) for offer in wanted])
            free -= len(wanted)
        self.window.look(free, self._offers.oldest(), self._offers.mean_size)

    def answer(self, answer: ClaimAnswered) -> Grant | None:
        """Settle the offer of a claim by its answer; return what is to be started under it, if anything.

        A grant that may be as old as its lease allows, read by a process that stood still, starts nothing.
        """
        claim = self._claims.answered(answer.claim_id)
        if claim is None:
            self._answer_late(answer)
            return None
        start = claim.offer.start
        if answer.granted and is_spent(self._clock.monotonic() - claim.asked_at, answer.lease_s):
            self.returns.grant(returned(start, ReturnReason.LATE_GRANT, answer.claim_id), claim.offer)
            return None
        if answer.granted and self.shut:
            self.returns.grant(returned(start, ReturnReason.DRAINING, answer.claim_id), claim.offer)
            return None
        self._offers.settle(claim.offer)
        return Grant(start, claim.claim_id, claim.asked_at) if answer.granted else None

    async def ack(self) -> None:
        """Ack what is settled by now."""
        settled = self._offers.settled()
        if settled and self._consumer is not None:
            await self._consumer.ack(settled)

    async def tend_overdue(self) -> None:
        """See to claims not answered and offers no slot was found for in time, until cancelled."""
        while True:
            await self._clock.sleep(_TICK_S)
            now = self._clock.monotonic()
            again, given_up = self._claims.overdue(now)
            if again:
                self._post("attempt.claim", again)
            for offer in given_up:
                self._offers.settle(offer)
            for offer in self._offers.give_up(now - _LONGEST_IN_HAND_S):
                self.returns.offer(offer, ReturnReason.NO_SLOT)
            for offer in self._room.give_up(now - _LONGEST_ASIDE_S, now - _LONGEST_RESERVED_S):
                self.returns.offer(offer, ReturnReason.NO_ROOM)
            self.claim()
            await self.ack()

    def lose_session(self) -> None:
        """Drop what waits: it comes again. Claims under way stay: their answers may still come."""
        self._offers.forget()
        self._room.aside.clear()
        self.claim()

    async def close(self) -> None:
        """Take nothing more; give back what was not claimed."""
        self.closed = True
        await self._shut()

    async def _shut(self) -> None:
        await self.window.shut()
        await self._give_back()
        for offer in (*self._room.look(), *self._offers.next(len(self._offers))):
            self.returns.offer(offer, ReturnReason.DRAINING)

    async def cleared(self) -> None:
        """Return when every claim is answered or given up and all that was handed back is with the broker."""
        await self._claims.none()
        await self.returns.none()
        await self.ack()

    def _pick(self, free: int) -> list[Offer]:
        """Take up to ``free`` offers that can start now, those first that waited for room."""
        waiting = self._room.look()
        picked: list[Offer] = []
        while len(picked) < free and (waiting or len(self._offers)):
            offer = waiting.pop(0) if waiting else self._offers.next(1)[0]
            if self._is_startable(offer):
                picked.append(offer)
        self._room.aside += waiting
        return picked

    def _is_startable(self, offer: Offer) -> bool:
        """Tell whether to claim ``offer``; one that is not for us is handed back, one without room set aside."""
        order = offer.start.order
        if (refusal := self._refusal(order)) is not None:
            self.returns.offer(offer, refusal)
        elif not self._room.is_ever_enough(order):
            self.returns.offer(offer, ReturnReason.NO_ROOM)
        elif self._room.reserve(order):
            return True
        elif offer.start.patient or len(self._room.aside) < self._slots:
            self._room.aside.append(offer)
        else:
            self.returns.offer(offer, ReturnReason.NO_ROOM)
        return False

    def _answer_late(self, answer: ClaimAnswered) -> None:
        message = self._claims.late_grant(answer.claim_id) if answer.granted else None
        if message is not None:
            log.warning("grant.late", run_id=str(answer.run_id), attempt=answer.attempt)
            self.returns.grant(message)

    async def _give_back(self) -> None:
        """Release the deliveries in hand of which nothing was claimed."""
        whole = self._offers.give_back_whole()
        if whole and self._consumer is not None:
            await self._consumer.release(whole)
        self.claim()

    async def _say_returned(self, messages: Sequence[AttemptReturned]) -> list[PublishOutcome]:
        return list(await asyncio.gather(*self._post("attempt.returned", messages)))
