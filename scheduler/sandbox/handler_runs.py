"""Runs handlers in the executor's process: hands them to loops and threads, and watches their time."""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from scheduler.clock import Clock
from scheduler.ports import Ended, InlineDone, InlineStart
from scheduler.sandbox.handler_call import HandlerCall, taken
from scheduler.sandbox.handler_places import Ends, HandlerLoop, HandlerThreads, Outbox, Place
from scheduler.sandbox.handlers import Handler
from scheduler.sandbox.ladder import Ladder, Step
from scheduler.sandbox.output import one_line
from schemas.vocabulary import Outcome

PING_S = 0.5
"""How often the handler loop is asked for a sign of life; two rounds without one, and it is replaced."""
UNWIND_S = 0.5
"""How long a killed async handler may take to end by CancelledError before it is abandoned."""
MAX_STUCK_LOOPS = 16
MAX_THREADS = 10_000
"""As many as an executor may have slots, which are the limit; a thread is made when there is a call for it."""


class HandlerRuns:
    """Starts handler calls, stops them in time, reports each end exactly once. For the runner's loop only."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._outbox = Outbox(self._loop, self._on_ends)
        self._threads = HandlerThreads(self._outbox, MAX_THREADS)
        self._current: HandlerLoop | None = None
        self._stuck: list[HandlerLoop] = []
        self._calls: set[HandlerCall] = set()
        self._leaving: dict[HandlerCall, float] = {}
        """Killed calls, and until when they may unwind."""
        self._quiet: asyncio.Future[None] | None = None
        """Resolves, while closing, when the last call has ended."""
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = math.inf
        self._next_ping = math.inf
        self.abandoned = 0
        """How many calls could not be stopped since the start; their threads or tasks may still run."""

    def start(
        self, starts: Sequence[tuple[InlineStart, Handler, Mapping[str, str]]], on_done: InlineDone, *, in_thread: bool
    ) -> None:
        """Begin the calls; ``on_done`` gets their ends in batches."""
        now = self._clock.monotonic()
        place: Place = self._threads if in_thread else self._handler_loop(now)
        calls = [
            HandlerCall(start, handler, secrets, Ladder(start.order.limits, now), on_done)
            for start, handler, secrets in starts
        ]
        due = self._next_ping
        for call in calls:
            call.place = place
            due = min(due, call.ladder.due)
        self._calls.update(calls)
        place.submit(calls)
        self._arm(due, now)
        for call in calls:
            call.stop.listen(partial(self._on_stop, call))

    async def close(self) -> None:
        """Stop everything; calls that do not end soon are reported as they stand and left to themselves."""
        for call in list(self._calls):
            call.stop.request("the executor stops", at_once=True)
        self._quiet = self._loop.create_future()
        if self._calls:
            await asyncio.wait({self._quiet}, timeout=2 * UNWIND_S)
        for call in list(self._calls):
            self._abandon(call)
        if self._timer is not None:
            self._timer.cancel()
        self._threads.close()
        loops = [*self._stuck, *([self._current] if self._current is not None else [])]
        self._current, self._stuck = None, []
        for loop in loops:
            loop.stop()
        for loop in loops:
            await asyncio.to_thread(loop.join, UNWIND_S)

    def _handler_loop(self, now: float) -> HandlerLoop:
        if self._current is None:
            self._current = HandlerLoop(self._outbox)
        if self._next_ping == math.inf:
            self._next_ping = now + PING_S
        return self._current

    def _on_stop(self, call: HandlerCall) -> None:
        if not call.finished:
            now = self._clock.monotonic()
            self._climb(call, call.ladder.stop(call.stop.reason or "", now, at_once=call.stop.at_once), now)
            self._arm(min(call.ladder.due, self._leaving.get(call, math.inf)), now)

    def _arm(self, due: float, now: float) -> None:
        if due < self._timer_due:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_due = due
            self._timer = self._loop.call_later(max(0.0, due - now), self._on_timer)

    def _on_timer(self) -> None:
        self._timer, self._timer_due = None, math.inf
        now = self._clock.monotonic()
        if now >= self._next_ping:
            self._ping(now)
        for call in list(self._calls):
            if now >= self._leaving.get(call, math.inf):
                self._abandon(call)
            elif now >= call.ladder.due:
                self._climb(call, call.ladder.step(now), now)
        due = min((call.ladder.due for call in self._calls), default=math.inf)
        due = min(due, self._next_ping, *self._leaving.values())
        if due < math.inf:
            self._arm(due, now)

    def _climb(self, call: HandlerCall, step: Step, now: float) -> None:
        place = call.place
        if step is Step.WAIT or not isinstance(place, HandlerLoop | HandlerThreads):
            return
        place.ask(call)
        if step is Step.KILL:
            self._leaving[call] = now + UNWIND_S

    def _abandon(self, call: HandlerCall) -> None:
        self.abandoned += 1
        if isinstance(call.place, HandlerThreads):
            call.place.give_up()
        reason = f"{call.ladder.said('given up')}: it goes on and is left to itself"
        self._finish([(call, Ended(call.ladder.outcome or Outcome.CANCELLED, reason=one_line(reason)))])

    def _ping(self, now: float) -> None:
        self._outbox.deliver()  # a loop that is blocked may have ends it has not posted
        self._next_ping = now + PING_S if self._calls else math.inf
        if self._current is None or self._current.ping() or len(self._stuck) >= MAX_STUCK_LOOPS:
            self._stuck = [loop for loop in self._stuck if not self._retired(loop)]
            return
        stuck, self._current = self._current, HandlerLoop(self._outbox)
        self._stuck.append(stuck)
        waiting = [call for call in self._calls if call.place is stuck and taken(call.turn)]
        for call in waiting:
            call.place, call.turn = self._current, [None]
        self._current.submit(waiting)

    def _retired(self, loop: HandlerLoop) -> bool:
        """End a loop that answers again, once nothing that counts runs there."""
        if any(call.place is loop for call in self._calls) or not loop.ping():
            return False
        loop.stop()
        return True

    def _on_ends(self, ends: Ends) -> None:
        """Take what calls say about their own end; where we interfered, ours is the outcome."""
        judged: Ends = []
        for call, ended in ends:
            outcome = call.ladder.outcome
            if outcome is not None:
                ended = replace(ended, outcome=outcome, reason=one_line(call.ladder.reason))  # noqa: PLW2901
            judged.append((call, ended))
        self._finish(judged)

    def _finish(self, ends: Ends) -> None:
        done: dict[InlineDone, list[tuple[InlineStart, Ended]]] = {}
        for call, ended in ends:
            if not call.finished:
                call.finished = True
                self._calls.discard(call)
                self._leaving.pop(call, None)
                call.stop.listen(_heed_nothing)  # a request holds its call no longer
                done.setdefault(call.on_done, []).append((call.start, ended))
        for on_done, batch in done.items():
            on_done(batch)
        if self._quiet is not None and not self._calls and not self._quiet.done():
            self._quiet.set_result(None)


def _heed_nothing() -> None:
    """The listener of a request whose call has ended."""
