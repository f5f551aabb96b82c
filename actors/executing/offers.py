"""Offers in hand: deliveries of the pool's queue whose elements are not all settled."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from scheduler.ports import Delivery
from schemas.commands import StartAttempt


@dataclass(slots=True)
class Hand:
    """A delivery and how many of its elements are still to be settled."""

    delivery: Delivery
    left: int
    touched: bool = False
    """An element was claimed, settled or handed back: the delivery may not be released any more."""


@dataclass(slots=True)
class Offer:
    """One element of a delivery. ``since`` is the monotonic instant it came."""

    start: StartAttempt
    hand: Hand
    since: float


class Offers:
    """What waits unclaimed, in order, and which deliveries are ready to be acked."""

    def __init__(self) -> None:
        self._waiting: deque[Offer] = deque()
        self._settled: list[Delivery] = []
        self.mean_size = 1.0
        """Elements per delivery of late; 1.0 until lists come."""

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self, delivery: Delivery, starts: Sequence[StartAttempt], now: float) -> None:
        """Add the readable elements of a delivery; with none it is settled at once."""
        if not starts:
            self._settled.append(delivery)
            return
        hand = Hand(delivery, len(starts))
        self._waiting.extend([Offer(start, hand, now) for start in starts])
        self.mean_size += (len(starts) - self.mean_size) / 8

    def next(self, limit: int) -> list[Offer]:
        """Return up to ``limit`` waiting offers, oldest first; they no longer wait."""
        taken = [self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))]
        for offer in taken:
            offer.hand.touched = True
        return taken

    def settle(self, offer: Offer) -> None:
        """Count an element as dealt with; the delivery is acked when it was the last one."""
        offer.hand.left -= 1
        if offer.hand.left == 0:
            self._settled.append(offer.hand.delivery)

    def settled(self) -> list[Delivery]:
        """Return the deliveries to ack, each once."""
        settled, self._settled = self._settled, []
        return settled

    def oldest(self) -> float | None:
        """Return since when the first waiting offer waits."""
        return self._waiting[0].since if self._waiting else None

    def give_back_whole(self) -> list[Delivery]:
        """Take the deliveries of which nothing was claimed out of the hand, to be released."""
        whole = {id(offer.hand): offer.hand.delivery for offer in self._waiting if not offer.hand.touched}
        self._waiting = deque(offer for offer in self._waiting if offer.hand.touched)
        return list(whole.values())

    def give_up(self, waiting_since: float) -> list[Offer]:
        """Take out what has waited since ``waiting_since`` or longer; the caller hands it back."""
        given_up: list[Offer] = []
        while self._waiting and self._waiting[0].since <= waiting_since:
            given_up.extend(self.next(1))
        return given_up

    def forget(self) -> None:
        """Drop what waits: the session is lost, the deliveries come again."""
        self._waiting.clear()
        self._settled.clear()
