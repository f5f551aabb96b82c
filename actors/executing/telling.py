"""Tells what attempts say of themselves while they run: progress about once a second, output while somebody follows.

Nothing is decided by it, so it may be lost; it is told again. One batch is under way at a time: what a slow
broker cannot take is left out, never heaped up.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from actors.executing.running import Run, Running
from scheduler.clock import Clock
from scheduler.errors import TransientError
from scheduler.ports import PublishOutcome
from scheduler.voice import Told, Voice
from schemas.commands import FollowAttempt
from schemas.facts import AttemptTold, OutputPiece, Progress

LOOK_S: Final = 0.25
"""Between two looks at the output of what is followed."""
PROGRESS_S: Final = 1.0
REPEAT_S: Final = 30.0
"""Progress that stays the same is told again after this long."""
FOLLOWED_S: Final = 10.0
"""A wish to follow holds so long; who looks repeats it."""
PIECE_BYTES: Final = 16 * 1024
_MOST_FOLLOWED: Final = 50
_LAST_PIECES: Final = 20

Post = Callable[..., "list[asyncio.Future[PublishOutcome]]"]


@dataclass(slots=True)
class _Followed:
    run: Run
    position: int
    until: float


class Teller:
    """The outward voice of all that runs on one executor. ``post`` publishes a list of AttemptTold."""

    def __init__(self, running: Running, post: Post, clock: Clock) -> None:
        self._running = running
        self._post = post
        self._clock = clock
        self._seq = 0
        self._followed: dict[tuple[UUID, int, UUID], _Followed] = {}
        self._progress: dict[tuple[UUID, int, UUID], tuple[Told, float]] = {}
        """What was told last of each attempt, and when."""
        self._progress_due = 0.0
        self._under_way: list[asyncio.Future[PublishOutcome]] = []

    async def follow(self, commands: Sequence[FollowAttempt]) -> None:
        """Tell what attempts that run here write, from now on and for a while."""
        until = self._clock.monotonic() + FOLLOWED_S
        for command in commands:
            key = (command.run_id, command.attempt, command.lease_token)
            run = self._running.find(*key)
            if run is None or (key not in self._followed and len(self._followed) >= _MOST_FOLLOWED):
                continue
            followed = self._followed.setdefault(key, _Followed(run, 0, until))
            followed.until = until
            if command.from_byte is not None:
                followed.position = command.from_byte

    async def tend(self) -> None:
        """Look and tell, until cancelled."""
        while True:
            await self._clock.sleep(LOOK_S)
            if all(outcome.done() for outcome in self._under_way):
                now = self._clock.monotonic()
                self._under_way = self._tell_progress(now) + self._tell_output(now)

    def say_last(self, ended: Iterable[Run]) -> None:
        """Tell the rest of what ended attempts wrote, where somebody follows them."""
        if not self._followed:
            return
        for run in ended:
            followed = self._followed.pop(_key(run), None)
            if followed is not None:
                pieces = [fact for _ in range(_LAST_PIECES) for fact in self._piece(followed, final=True)]
                try:
                    self._post(pieces, persistent=False, size=1)
                except TransientError:
                    return  # the executor is stopped: what was written comes with the end

    def _tell_progress(self, now: float) -> "list[asyncio.Future[PublishOutcome]]":
        if now < self._progress_due:
            return []
        self._progress_due = now + PROGRESS_S
        facts: list[AttemptTold] = []
        told_before, self._progress = self._progress, {}
        for run in self._running.all():
            told = run.voice.look()
            if told is None:
                continue
            key = _key(run)
            before, at = told_before.get(key, (None, now))
            if told != before or now - at >= REPEAT_S:
                facts.append(self._fact(run, progress=as_progress(told)))
                at = now
            self._progress[key] = told, at
        return self._post(facts, persistent=False)

    def _tell_output(self, now: float) -> "list[asyncio.Future[PublishOutcome]]":
        if not self._followed:
            return []
        self._followed = {
            key: followed
            for key, followed in self._followed.items()
            if followed.until > now and self._running.find(*key) is not None
        }
        pieces = [fact for followed in self._followed.values() for fact in self._piece(followed)]
        return self._post(pieces, persistent=False, size=1)

    def _piece(self, followed: _Followed, *, final: bool = False) -> Iterator[AttemptTold]:
        piece = followed.run.voice.piece(followed.position, PIECE_BYTES, final=final)
        if piece is not None:
            followed.position = piece.until
            yield self._fact(followed.run, output=OutputPiece(at=piece.at, until=piece.until, text=piece.text))

    def _fact(self, run: Run, **said: Any) -> AttemptTold:
        self._seq += 1
        start = run.start
        return AttemptTold(
            tenant=start.tenant,
            run_id=start.run_id,
            attempt=start.attempt,
            lease_token=start.lease_token,
            seq=self._seq,
            **said,
        )


def progress_of(voice: Voice) -> Progress | None:
    """Return how far an attempt said that it is; None: it never did."""
    told = voice.look()
    return None if told is None else as_progress(told)


def as_progress(told: Told) -> Progress:
    return Progress(done=told.done, total=told.total, message=told.message[:200])


def _key(run: Run) -> tuple[UUID, int, UUID]:
    return run.start.run_id, run.start.attempt, run.start.lease_token
