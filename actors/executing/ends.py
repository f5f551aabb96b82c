"""Ends of attempts: said until a Recorder has named them."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final
from uuid import UUID

from actors.executing.finished import BODY_BYTES, line_of
from actors.executing.spool import COMPACT_AT_BYTES, Spool
from scheduler.clock import Clock
from scheduler.crash import crash_point
from scheduler.ports import PublishOutcome
from schemas.facts import AttemptFinished
from schemas.registry import UnreadableError, parse, split

NAMED_WITHIN_S: Final = 10.0
"""An end that is not named so long after it was sent is sent again."""
_RETRY_AFTER_S: Final = 1.0
_TICK_S: Final = 0.5
_MOST_ENDS: Final = 20_000
_MOST_BYTES: Final = 64 * 1024 * 1024
_MISSED_AFTER_S: Final = 3.0
_MISSED_NAMED: Final = 1000

Publish = Callable[[bytes, str | None], "asyncio.Future[PublishOutcome]"]
"""Publishes a body of ends to the Recorders of a store; None: the main one."""


@dataclass(slots=True)
class End:
    """An end that is owed: its place, its JSON, when it was sent, when to send it again."""

    seq: int
    line: bytes
    sent_at: float
    due: float
    store: str | None
    stored: bool = False


class Ends:
    """What this executor owes the Recorder: in memory for speed, in the spool against SIGKILL."""

    def __init__(self, spool: Spool, boot_id: UUID, publish: Publish, clock: Clock) -> None:
        self._spool = spool
        self._boot_id = boot_id
        self._publish = publish
        self._clock = clock
        self._owed: dict[int, End] = {}
        self._owed_bytes = 0
        self._last_seq = 0
        self._unstored = 0
        self._all_stored = asyncio.Event()
        self._all_stored.set()

    def __len__(self) -> int:
        return len(self._owed)

    @property
    def overflowing(self) -> bool:
        """Whether so much is owed that nothing new should be started."""
        return len(self._owed) >= _MOST_ENDS or self._owed_bytes >= _MOST_BYTES

    @property
    def trouble(self) -> str | None:
        """Why ends are kept in memory only; None when they are in the spool too."""
        return self._spool.trouble

    def open(self) -> int:
        """Take over what an earlier process left, under places of this boot; return how many."""
        found: list[AttemptFinished] = []
        for line in self._spool.open():
            try:
                message = parse(split(line)[0])
            except UnreadableError:
                continue  # written by another version; its attempt will count as lost
            if isinstance(message, AttemptFinished):
                place = {"boot_id": self._boot_id, "end_seq": self.next_seq()}
                found.append(message.model_copy(update=place))
        self._keep(found)
        self._spool.rewrite(end.line for end in self._owed.values())
        return len(found)

    def next_seq(self) -> int:
        self._last_seq += 1
        return self._last_seq

    def add(self, facts: Sequence[AttemptFinished]) -> None:
        """Keep new ends and send them; each has its place from ``next_seq``."""
        ends = self._keep(facts)
        self._spool.append([end.line for end in ends])
        if self._spool.size > COMPACT_AT_BYTES and self._spool.size > 2 * self._owed_bytes:
            self._spool.rewrite(end.line for end in self._owed.values())
        crash_point("executor.before_finished_sent")
        self._send(ends)

    def send_overdue(self) -> None:
        """Send again what was refused, or sent and not named in time."""
        now = self._clock.monotonic()
        self._send([end for end in self._owed.values() if end.due <= now])

    async def tend(self) -> None:
        """Send again what is overdue, until cancelled."""
        while True:
            self.send_overdue()
            await self._clock.sleep(_TICK_S)

    def forget(self, seqs: Iterable[int]) -> None:
        """Drop the ends that a Recorder has named as stored; unknown places are nothing new."""
        for seq in seqs:
            end = self._owed.pop(seq, None)
            if end is not None:
                self._owed_bytes -= len(end.line)
                self._count_stored(end)
        if not self._owed and self._spool.size:
            self._spool.rewrite(())

    def missed(self) -> tuple[int, ...]:
        """Return the places of ends whose naming should have come by now, at most 1000."""
        since = self._clock.monotonic() - _MISSED_AFTER_S
        return tuple([end.seq for end in self._owed.values() if end.sent_at <= since][:_MISSED_NAMED])

    async def all_stored(self) -> None:
        """Return when the broker has confirmed every end that is owed."""
        await self._all_stored.wait()

    def close(self) -> None:
        self._spool.close()

    def _keep(self, facts: Sequence[AttemptFinished]) -> list[End]:
        now = self._clock.monotonic()
        ends = [End(fact.end_seq, line_of(fact), now, now, fact.store) for fact in facts]
        for end in ends:
            self._owed[end.seq] = end
            self._owed_bytes += len(end.line)
        self._unstored += len(ends)
        if self._unstored:
            self._all_stored.clear()
        return ends

    def _send(self, ends: Sequence[End]) -> None:
        now = self._clock.monotonic()
        apart = sorted({end.store for end in ends if end.store is not None})
        groups = [[end for end in ends if end.store == store] for store in (None, *apart)] if apart else [ends]
        for body in [body for group in groups for body in packed(group)]:
            for end in body:
                end.sent_at, end.due = now, now + NAMED_WITHIN_S
            lines = [end.line for end in body]
            outcome = self._publish(lines[0] if len(lines) == 1 else b"[" + b",".join(lines) + b"]", body[0].store)
            outcome.add_done_callback(partial(self._heard, body))

    def _heard(self, body: Sequence[End], outcome: "asyncio.Future[PublishOutcome]") -> None:
        if not outcome.cancelled() and outcome.result() is PublishOutcome.STORED:
            crash_point("executor.after_finished_confirmed")
            for end in body:
                self._count_stored(end)
        else:
            again = self._clock.monotonic() + _RETRY_AFTER_S
            for end in body:
                end.due = min(end.due, again)

    def _count_stored(self, end: End) -> None:
        if not end.stored:
            end.stored = True
            self._unstored -= 1
            if self._unstored == 0:
                self._all_stored.set()


def packed(ends: Sequence[End]) -> list[list[End]]:
    """Split ``ends`` into bodies of at most BODY_BYTES."""
    bodies: list[list[End]] = []
    room = 0
    for end in ends:
        if len(end.line) + 1 > room:
            bodies.append([])
            room = BODY_BYTES
        bodies[-1].append(end)
        room -= len(end.line) + 1
    return bodies
