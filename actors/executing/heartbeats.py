"""Heartbeats of one executor process: numbers, contents, and which was answered last."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from actors.executing.settings import ExecutorSettings
from scheduler.clock import Clock
from schemas.facts import ExecutorHeartbeat
from schemas.message import AttemptKey

BEATS_PER_LEASE: Final = 3
ATTEMPTS_IN_ONE: Final = 800
"""More attempts are spread over several heartbeats: a body stays below a frame of the broker."""
_REMEMBERED: Final = 1000
_UNHEARD_S: Final = 1.0
"""The pause until the first answer has come: an executor takes nothing before."""


class Heartbeats:
    """Makes the heartbeats of one boot.

    An executor whose heartbeats are not answered goes on: a lease runs out only when a Recorder
    has read past it, so an outage of the broker or the database costs no attempt, and killing
    long jobs for it would; only jobs that ask for it are, see Fence. When the executor was really cut
    off alone, the answer that comes after the cut names the attempts it lost, and those are killed.
    """

    def __init__(self, settings: ExecutorSettings, handlers: tuple[str, ...], boot_id: UUID, clock: Clock) -> None:
        self._settings = settings
        self._handlers = handlers
        self._boot_id = boot_id
        self._clock = clock
        self._seq = 0
        self._newest = 0
        self._sent_at: dict[int, float] = {}
        self.answered_at = clock.monotonic()
        """When the newest heartbeat was sent that is known to be recorded; at first, when this boot began."""
        self._due = self.answered_at
        self.lease_s = settings.lease_s

    @property
    def wait_s(self) -> float:
        """Seconds until the next heartbeat is due under the lease as it is now."""
        return self._due - self._clock.monotonic()

    @property
    def trouble(self) -> str | None:
        """Why this executor should not count as ready; None when all is well."""
        silence = self._clock.monotonic() - self.answered_at
        return f"no heartbeat was recorded for {silence:.0f} s" if silence > self.lease_s else None

    def learn_lease(self, lease_s: float, elapsed_s: float = 0.0) -> None:
        """Hear the lease of a grant, and how long ago it was asked for; a shorter or older one hastens a heartbeat."""
        if elapsed_s > lease_s / BEATS_PER_LEASE / 2:
            self._due = self._clock.monotonic()
        if lease_s != self.lease_s:
            self.lease_s = lease_s
            self._due = min(self._due, self._clock.monotonic() + lease_s / BEATS_PER_LEASE)

    def make(
        self,
        attempts: Sequence[AttemptKey],
        missed_ends: tuple[int, ...],
        *,
        busy: int,
        draining: bool,
        stopped: bool = False,
        store: str | None = None,
    ) -> list[ExecutorHeartbeat]:
        """Return what to say now of ``attempts``, all of one store: one heartbeat, or more when they are very many."""
        now = self._clock.monotonic()
        heard = self.lease_s / BEATS_PER_LEASE
        self._due = now + (heard if self._newest else min(heard, _UNHEARD_S))
        settings = self._settings
        beats: list[ExecutorHeartbeat] = []
        for at in range(0, max(1, len(attempts)), ATTEMPTS_IN_ONE):
            self._seq += 1
            self._sent_at[self._seq] = now
            self._sent_at.pop(self._seq - _REMEMBERED, None)
            beats.append(
                ExecutorHeartbeat(
                    tenant=settings.tenant,
                    executor=settings.name,
                    boot_id=self._boot_id,
                    seq=self._seq,
                    pool=settings.pool,
                    slots=settings.slots,
                    busy=busy,
                    handlers=self._handlers,
                    labels=dict(settings.labels),
                    host=settings.host,
                    pid=settings.pid,
                    program=settings.version,
                    cpu=settings.cpu,
                    memory_bytes=settings.memory_bytes,
                    disk_bytes=settings.disk_bytes,
                    sandboxes=settings.sandboxes,
                    draining=draining,
                    stopped=stopped,
                    attempts=tuple(attempts[at : at + ATTEMPTS_IN_ONE]),
                    unconfirmed_ends=missed_ends if at == 0 else (),
                    store=store,
                )
            )
        return beats

    def recorded(self, seq: int) -> bool:
        """Hear that heartbeat ``seq`` is stored; False when a later one was known to be already."""
        newest, self._newest = self._newest, max(seq, self._newest)
        sent_at = self._sent_at.get(seq)
        if newest == 0 and sent_at is not None:  # it is heard: no need to hurry any more
            self._due = max(self._due, sent_at + self.lease_s / BEATS_PER_LEASE)
        if sent_at is not None:
            self.answered_at = max(self.answered_at, sent_at)
            self._sent_at = {number: at for number, at in self._sent_at.items() if number > seq}
        return seq >= newest
