"""Room for attempts with ``resources``: what they demand together is never more than the executor has."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from actors.executing.offers import Offer
from actors.executing.settings import ExecutorSettings
from schemas.work import WorkOrder


@dataclass(frozen=True, slots=True)
class Demand:
    """Cores and bytes; all 0 for an order that has no limits, and so demands nothing."""

    cpu: float = 0.0
    memory_bytes: int = 0
    disk_bytes: int = 0

    @classmethod
    def of(cls, order: WorkOrder) -> "Demand":
        resources = order.resources
        if resources is None:
            return cls()
        return cls(resources.cpu or 0.0, resources.memory_bytes or 0, resources.disk_bytes or 0)

    def fits(self, room: "Demand") -> bool:
        return self.cpu <= room.cpu and self.memory_bytes <= room.memory_bytes and self.disk_bytes <= room.disk_bytes

    def without(self, *others: "Demand") -> "Demand":
        return Demand(
            round(self.cpu - sum(each.cpu for each in others), 6),
            self.memory_bytes - sum(each.memory_bytes for each in others),
            self.disk_bytes - sum(each.disk_bytes for each in others),
        )


_NOTHING: Final = Demand()


class Room:
    """What is free is counted anew from ``in_hand``, all that runs or is claimed: there is nothing to give back."""

    def __init__(self, settings: ExecutorSettings, in_hand: Callable[[], Iterable[WorkOrder]]) -> None:
        self._all = Demand(settings.cpu, settings.memory_bytes, settings.disk_bytes or 0)
        self._in_hand = in_hand
        self._free: Demand | None = None
        self._blocked = False
        self.aside: list[Offer] = []
        """Offers that wait for room, oldest first; others that demand nothing go past them. Nothing that demands
        something does: what gets free is kept for the first one, for as long as it may wait here."""

    def look(self) -> list[Offer]:
        """Begin a new round: forget what was free, and return those that wait, to be asked for first."""
        self._free, self._blocked = None, False
        waiting, self.aside = self.aside, []
        return sorted(waiting, key=lambda offer: not offer.start.patient)  # in their order otherwise

    def is_ever_enough(self, order: WorkOrder) -> bool:
        return order.resources is None or Demand.of(order).fits(self._all)

    def reserve(self, order: WorkOrder) -> bool:
        """Take room for ``order`` in this round; False when there is none, or an earlier one waits for it."""
        demand = _NOTHING if order.resources is None else Demand.of(order)
        if demand == _NOTHING:
            return True
        if self._free is None:
            self._free = self._all.without(*(Demand.of(other) for other in self._in_hand()))
        if self._blocked or not demand.fits(self._free):
            self._blocked = True
            return False
        self._free = self._free.without(demand)
        return True

    def give_up(self, waiting_since: float, reserved_since: float) -> list[Offer]:
        """Take out what has waited so long, a patient one so much longer; the caller hands it back."""
        kept: list[Offer] = []
        given_up: list[Offer] = []
        for offer in self.aside:
            late = offer.since <= (reserved_since if offer.start.patient else waiting_since)
            (given_up if late else kept).append(offer)
        self.aside = kept
        return given_up
