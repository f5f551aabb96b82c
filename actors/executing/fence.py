"""The fence: ends attempts here before another attempt of their run can start elsewhere.

A lease ends a lease's time after the last word of it that was recorded. An attempt with
``on_lost_contact: kill`` is killed when 0.7 of that time has passed, counted from when the word was
*sent*: what is left of the lease is for the kill and for two clocks that do not run alike. All of it
is measured on the monotonic clock, which goes on while a process stands still.
"""

from typing import Final

import structlog

from actors.executing.heartbeats import Heartbeats
from actors.executing.running import Run, Running
from scheduler.clock import Clock
from schemas.vocabulary import OnLostContact

log: structlog.stdlib.BoundLogger = structlog.get_logger()

HELD_FOR: Final = 0.7
"""The part of a lease for which its holder may count on it."""
_LOOKS_PER_LEASE: Final = 30
_LONGEST_PAUSE_S: Final = 1.0
_OVERDUE: Final = 3
"""After so many pauses without a look this process stood still."""


def is_spent(elapsed_s: float, lease_s: float) -> bool:
    """Tell whether a lease that was asked for so long ago may no longer be counted on."""
    return elapsed_s > HELD_FOR * lease_s


class Fence:
    """Watches how long nothing was heard that holds the attempts of one executor."""

    def __init__(self, running: Running, heartbeats: Heartbeats, clock: Clock) -> None:
        self._running = running
        self._heartbeats = heartbeats
        self._clock = clock
        self._looked_at = clock.monotonic()

    def wake(self) -> None:
        """Look first, before a message is acted on, when this process stood still. Costs one reading of the clock."""
        if self._clock.monotonic() - self._looked_at > _OVERDUE * self._pause_s:
            self.look()

    def look(self) -> None:
        """Kill what may no longer run here."""
        self._looked_at = now = self._clock.monotonic()
        lease_s, answered_at = self._heartbeats.lease_s, self._heartbeats.answered_at

        def is_unheld(run: Run) -> bool:
            held_since = answered_at if answered_at >= run.began else run.asked_at
            return run.start.order.on_lost_contact is OnLostContact.KILL and is_spent(now - held_since, lease_s)

        reason = f"killed by its executor: no heartbeat was recorded for {now - answered_at:.1f} s"
        if killed := self._running.abandon_unheld(is_unheld, reason):
            log.warning("attempts.fenced", count=killed, silence_s=round(now - answered_at, 1))

    async def tend(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            self.look()
            await self._clock.sleep(self._pause_s)

    @property
    def _pause_s(self) -> float:
        return min(self._heartbeats.lease_s / _LOOKS_PER_LEASE, _LONGEST_PAUSE_S)
