"""Python children that are kept for further runs: who may have which, and for how long.

Kept are the sockets of their wardens: to close one ends its child.
"""

import asyncio
import contextlib
import math
import socket
from dataclasses import dataclass

from scheduler.clock import Clock

LEAVE_S = 2.0
"""How long a child may take to end by itself (its calls at exit) before it is killed."""


@dataclass(frozen=True, slots=True)
class Recycling:
    """How long python children are kept, and how many; a job may want fewer runs."""

    most_runs: int = 100
    """So many runs, and a child ends; 1: each run has a fresh one."""
    most_bytes: int = 256 * 1024 * 1024
    """One that has more memory after a run ends."""
    idle_s: float = 10.0
    """One without a run for so long ends."""
    most_idle: int = 5


@dataclass(slots=True)
class Kept:
    """A child between its runs: ``key`` says whose it is."""

    key: str
    control: socket.socket
    runs: int
    until: float = math.inf


class WarmChildren:
    """The children that wait for a run. Belongs to one event loop."""

    def __init__(self, rules: Recycling, clock: Clock) -> None:
        self.rules = rules
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._idle: list[Kept] = []
        self._leaving: list[Kept] = []
        self._timer: asyncio.TimerHandle | None = None
        self._empty: asyncio.Future[None] | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._idle)

    def take(self, key: str) -> Kept | None:
        """Return the child of ``key`` that ran last; None: there is none, start one."""
        for kept in reversed(self._idle):
            if kept.key == key:
                self._idle.remove(kept)
                self._loop.remove_reader(kept.control)
                return kept
        return None

    def keep(self, kept: Kept, most_runs: int) -> None:
        """Keep a child that ended a run well, unless it has had ``most_runs``; it is ours from now on."""
        self._loop.add_reader(kept.control, self._on_word, kept)
        if self._closed or kept.runs >= most_runs:
            self._let_go(kept)
        else:
            kept.until = self._clock.monotonic() + self.rules.idle_s
            self._idle.append(kept)
            if len(self._idle) > self.rules.most_idle:
                self._let_go(self._idle.pop(0))
        self._arm()

    async def close(self) -> None:
        """Let all end, and kill those that do not."""
        self._closed = True
        while self._idle:
            self._let_go(self._idle.pop())
        if self._leaving:
            self._empty = self._loop.create_future()
            await asyncio.wait({self._empty}, timeout=LEAVE_S)
        while self._leaving:
            self._drop(self._leaving[0])
        if self._timer is not None:
            self._timer.cancel()

    def _let_go(self, kept: Kept) -> None:
        kept.until = self._clock.monotonic() + LEAVE_S
        self._leaving.append(kept)
        with contextlib.suppress(OSError):  # its warden has ended: the reader is about to say so
            kept.control.send(b"E")

    def _on_word(self, kept: Kept) -> None:
        """Hear of the end of a child, which is all that a warden has to tell now."""
        try:
            if kept.control.recv(4096):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._drop(kept)

    def _drop(self, kept: Kept) -> None:
        self._loop.remove_reader(kept.control)
        kept.control.close()
        for held in (self._idle, self._leaving):
            if kept in held:
                held.remove(kept)
        if self._empty is not None and not self._leaving and not self._empty.done():
            self._empty.set_result(None)

    def _arm(self) -> None:
        if self._timer is None and (due := min((kept.until for kept in self._all()), default=None)) is not None:
            self._timer = self._loop.call_later(max(0.0, due - self._clock.monotonic()), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = self._clock.monotonic()
        for kept in [kept for kept in self._leaving if kept.until <= now]:
            self._drop(kept)
        for kept in [kept for kept in self._idle if kept.until <= now]:
            self._idle.remove(kept)
            self._let_go(kept)
        self._arm()

    def _all(self) -> list[Kept]:
        return [*self._idle, *self._leaving]
