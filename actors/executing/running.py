"""What runs here: every granted attempt from its grant to its end, and how it is started and stopped."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

import structlog

from scheduler.clock import Clock
from scheduler.crash import crash_point
from scheduler.ports import AttemptContext, Ended, InlineStart, Sandbox, StopRequest
from scheduler.voice import Voice
from schemas.commands import StartAttempt
from schemas.message import AttemptKey
from schemas.vocabulary import Outcome
from schemas.work import WorkOrder

log: structlog.stdlib.BoundLogger = structlog.get_logger()

STOPPED: Final = "the executor was stopped"
_LONGEST_WAIT_S: Final = 0.1
"""So long at most an attempt that is granted ahead waits for its instant, whatever the clocks of other machines say."""


class Grant(NamedTuple):
    """What may start; ``asked_at`` is the monotonic instant of the claim, before which its lease did not begin."""

    start: StartAttempt
    claim_id: UUID
    asked_at: float


@dataclass(slots=True)
class Run:
    """A granted attempt. ``started_at`` is for people, ``began`` (monotonic) is what is measured by.

    One that is granted ahead of its instant has both from then on; until then it only holds its slot.
    """

    start: StartAttempt
    claim_id: UUID
    started_at: datetime
    began: float
    asked_at: float = 0.0
    stop: StopRequest = field(default_factory=StopRequest)
    voice: Voice = field(default_factory=Voice)
    abandoned: str | None = None
    """Why we end it before its time; whatever it says, it counts as lost, so that the job's policy decides."""


OnStarts = Callable[[Sequence[StartAttempt]], None]
OnEnds = Callable[[Sequence[tuple[Run, Ended]]], None]

_Key = tuple[UUID, int, UUID]


class Running:
    """The attempts of this executor that run. ``on_starts`` and ``on_ends`` hear of each once, in batches."""

    def __init__(self, sandbox: Sandbox, clock: Clock, on_starts: OnStarts, on_ends: OnEnds) -> None:
        self._sandbox = sandbox
        self._clock = clock
        self._on_starts = on_starts
        self._on_ends = on_ends
        self._runs: dict[_Key, Run] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._none = asyncio.Event()
        self._none.set()

    def __len__(self) -> int:
        return len(self._runs)

    def orders(self) -> Iterator[WorkOrder]:
        """Yield what runs."""
        return (run.start.order for run in self._runs.values())

    def find(self, run_id: UUID, attempt: int, lease_token: UUID) -> Run | None:
        """Return an attempt that runs here; None: it does not."""
        return self._runs.get((run_id, attempt, lease_token))

    def all(self) -> list[Run]:
        """Return all that runs, oldest first."""
        return list(self._runs.values())

    def keys(self, store: str | None = None) -> list[AttemptKey]:
        """Return the names of all that runs for tenants of ``store`` (None: the main one), oldest first."""
        held = (key for key, run in self._runs.items() if run.start.store == store)
        return [AttemptKey(run_id=key[0], attempt=key[1], lease_token=key[2]) for key in held]

    def stores(self) -> set[str]:
        """Return the stores, other than the main one, of what runs."""
        return {run.start.store for run in self._runs.values() if run.start.store is not None}

    def start(self, granted: Iterable[Grant]) -> None:
        """Start attempts under their claims, each at its instant. Never raises for a job's reasons."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        ready: list[Run] = []
        ahead: dict[datetime, list[Run]] = {}
        for start, claim_id, asked_at in granted:
            run = Run(start, claim_id, now, monotonic, asked_at)
            self._runs[start.run_id, start.attempt, start.lease_token] = run
            if start.starts_at is None or start.starts_at <= now:
                ready.append(run)
            else:
                ahead.setdefault(start.starts_at, []).append(run)
        if self._runs:
            self._none.clear()
        self._begin(ready)
        for instant, runs in ahead.items():
            self._spawn(self._begin_at(instant, runs), f"start of {len(runs)} at {instant.isoformat()}")

    def cancel(self, attempts: Iterable[AttemptKey], reason: str) -> None:
        """Ask attempts to stop; those that do not run here are nothing to us."""
        for run in self._found(attempts):
            run.stop.request(reason)

    def kill(self, attempts: Iterable[AttemptKey], reason: str) -> None:
        for run in self._found(attempts):
            run.stop.request(reason, at_once=True)

    def abandon(self) -> None:
        """Kill all that runs; it is reported as lost."""
        self._abandon(list(self._runs.values()), STOPPED)

    def abandon_unheld(self, is_unheld: Callable[[Run], bool], reason: str) -> int:
        """Kill what runs and ``is_unheld``, to be reported as lost; return how many are newly killed."""
        unheld = [run for run in self._runs.values() if run.abandoned is None and is_unheld(run)]
        self._abandon(unheld, reason)
        return len(unheld)

    async def none(self) -> None:
        """Return when nothing runs."""
        await self._none.wait()

    async def close(self) -> None:
        """Kill what runs and wait until it is gone; each end is still reported, as lost."""
        self.abandon()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._sandbox.close()
        self._ended([(run, Ended(Outcome.LOST)) for run in list(self._runs.values())])

    def _found(self, attempts: Iterable[AttemptKey]) -> list[Run]:
        found = [self._runs.get((key.run_id, key.attempt, key.lease_token)) for key in attempts]
        return [run for run in found if run is not None]

    @staticmethod
    def _abandon(runs: Iterable[Run], reason: str) -> None:
        for run in runs:
            run.abandoned = run.abandoned or reason
            run.stop.request(reason, at_once=True)

    async def _begin_at(self, instant: datetime, runs: Sequence[Run]) -> None:
        until = self._clock.monotonic() + _LONGEST_WAIT_S
        while (left_s := (instant - self._clock.now()).total_seconds()) > 0 and self._clock.monotonic() < until:
            await self._clock.sleep(min(left_s, _LONGEST_WAIT_S))  # a loop's timers may be a little early
        now, monotonic = self._clock.now(), self._clock.monotonic()
        for run in runs:
            run.started_at, run.began = now, monotonic
        self._begin(runs)

    def _begin(self, runs: Sequence[Run]) -> None:
        inline: list[InlineStart] = []
        for run in runs:
            start = run.start
            context = AttemptContext(
                start.tenant, start.run_id, start.attempt, start.lease_token, start.traceparent, voice=run.voice
            )
            if self._sandbox.is_inline(start.order):
                inline.append(InlineStart(start.order, context, run.stop))
            else:
                self._spawn(self._run(run, context), f"run {context.run_id}.{context.attempt}")
        if inline:
            self._start_inline(inline)
        if runs:
            self._on_starts([run.start for run in runs])

    def _spawn(self, what: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(what, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, run: Run, context: AttemptContext) -> None:
        try:
            ended = await self._sandbox.run(run.start.order, context, run.stop)
        except asyncio.CancelledError:
            run.abandoned = run.abandoned or STOPPED
            self._ended([(run, Ended(Outcome.LOST))])
            raise
        except Exception as error:
            log.exception("sandbox.failed", run_id=str(context.run_id))
            ended = _broken(error)
        self._ended([(run, ended)])

    def _start_inline(self, starts: Sequence[InlineStart]) -> None:
        try:
            self._sandbox.start_inline(starts, self._inline_done)
        except Exception as error:
            log.exception("sandbox.failed", attempts=len(starts))
            self._inline_done([(start, _broken(error)) for start in starts])

    def _inline_done(self, done: Sequence[tuple[InlineStart, Ended]]) -> None:
        ended: list[tuple[Run, Ended]] = []
        for start, end in done:
            context = start.context
            run = self._runs.get((context.run_id, context.attempt, context.lease_token))
            if run is not None:
                ended.append((run, end))
        self._ended(ended)

    def _ended(self, ended: Sequence[tuple[Run, Ended]]) -> None:
        for run, _ in ended:
            del self._runs[run.start.run_id, run.start.attempt, run.start.lease_token]
        if not self._runs:
            self._none.set()
        if ended:
            crash_point("executor.after_run")
            self._on_ends(ended)


def _broken(error: Exception) -> Ended:
    return Ended(Outcome.FAILED, reason=f"the sandbox failed: {type(error).__name__}: {error}"[:300])
