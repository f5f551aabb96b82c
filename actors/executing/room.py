"""Room for attempts with ``resources``: what they demand together is never more than the executor has."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from actors.executing.offers import Offer
from actors.executing.settings import ExecutorSettings
from schemas.work import WorkOrder


@dataclass(frozen=True, slots=True)
class Demand:
    """Cores, bytes, and shares of the disk's time; all 0 for an order without limits, which demands nothing."""

    cpu: float = 0.0
    memory_bytes: int = 0
    disk_bytes: int = 0
    io: float = 0.0

    def fits(self, room: "Demand") -> bool:
        return (
            self.cpu <= room.cpu
            and self.memory_bytes <= room.memory_bytes
            and self.disk_bytes <= room.disk_bytes
            and self.io <= room.io
        )

    def without(self, *others: "Demand") -> "Demand":
        return Demand(
            round(self.cpu - sum(each.cpu for each in others), 6),
            self.memory_bytes - sum(each.memory_bytes for each in others),
            self.disk_bytes - sum(each.disk_bytes for each in others),
            self.io - sum(each.io for each in others),
        )


_NOTHING: Final = Demand()
_IO_SHARES: Final[Mapping[str, float]] = {"normal": 1.0, "low": 0.5, "idle": 0.0}
"""By ``resources.io``: who is idle takes only what nobody else wants."""


class Room:
    """What is free is counted anew from ``in_hand``, all that runs or is claimed: there is nothing to give back."""

    def __init__(self, settings: ExecutorSettings, in_hand: Callable[[], Iterable[WorkOrder]]) -> None:
        io = math.inf if settings.io is None else settings.io
        self._all = Demand(settings.cpu, settings.memory_bytes, settings.disk_bytes or 0, io)
        self._io_shares = {} if settings.io is None else _IO_SHARES
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
        return order.resources is None or self._demand(order).fits(self._all)

    def reserve(self, order: WorkOrder) -> bool:
        """Take room for ``order`` in this round; False when there is none, or an earlier one waits for it."""
        demand = self._demand(order)
        if demand == _NOTHING:
            return True
        if self._free is None:
            self._free = self._all.without(*(self._demand(other) for other in self._in_hand()))
        if self._blocked or not demand.fits(self._free):
            self._blocked = True
            return False
        self._free = self._free.without(demand)
        return True

    def _demand(self, order: WorkOrder) -> Demand:
        wanted = order.resources
        if wanted is None:
            return _NOTHING
        io = self._io_shares.get(wanted.io, 0.0)
        return Demand(wanted.cpu or 0.0, wanted.memory_bytes or 0, wanted.disk_bytes or 0, io)

    def give_up(self, waiting_since: float, reserved_since: float) -> list[Offer]:
        """Take out what has waited so long, a patient one so much longer; the caller hands it back."""
        kept: list[Offer] = []
        given_up: list[Offer] = []
        for offer in self.aside:
            late = offer.since <= (reserved_since if offer.start.patient else waiting_since)
            (given_up if late else kept).append(offer)
        self.aside = kept
        return given_up
