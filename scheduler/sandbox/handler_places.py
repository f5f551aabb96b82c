"""Where handlers run: a thread with an event loop for async ones, daemon threads for sync ones.

Neither can stop the runner's own loop. Ends are handed over in batches: one wake-up of the
runner's loop for all that ended meanwhile.
"""

import asyncio
import contextlib
import itertools
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from scheduler.ports import Ended
from scheduler.sandbox.handler_call import UNBEGUN, HandlerCall, Turn, taken

Ends = list[tuple[HandlerCall, Ended]]
_numbers = itertools.count(1)


class Outbox:
    """Ends on their way from any thread to the runner's loop, which gets them as one list per wake-up."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_ends: Callable[[Ends], None]) -> None:
        self._loop = loop
        self._on_ends = on_ends
        self._ends: deque[tuple[HandlerCall, Ended]] = deque()
        self._posted = False

    def put(self, call: HandlerCall, ended: Ended) -> None:
        """Add an end without a wake-up; ``post`` must follow."""
        self._ends.append((call, ended))

    def post(self) -> None:
        if not self._posted:
            self._posted = True
            with contextlib.suppress(RuntimeError):  # the runner's loop is closed: nobody is left to be told
                self._loop.call_soon_threadsafe(self.deliver)

    def deliver(self) -> None:
        """Hand over what is there now; for the runner's loop."""
        self._posted = False  # before the ends are taken: one added from now on posts again
        ends: Ends = []
        with contextlib.suppress(IndexError):
            while True:
                ends.append(self._ends.popleft())
        if ends:
            self._on_ends(ends)


class Place(Protocol):
    """Runs calls it is given and puts their ends into the outbox."""

    def submit(self, calls: Sequence[HandlerCall]) -> None: ...

    def ask(self, call: HandlerCall) -> None:
        """Tell the call to stop; from the runner's loop."""
        ...


class HandlerLoop:
    """A daemon thread with a loop for async handlers. Methods are for the runner's loop unless they say otherwise."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._loop = asyncio.new_event_loop()
        self._posting = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._pinged = self._answered = 0
        self._thread = threading.Thread(target=self._serve, name=f"handlers-{next(_numbers)}", daemon=True)
        self._thread.start()

    def submit(self, calls: Sequence[HandlerCall]) -> None:
        self._loop.call_soon_threadsafe(self._begin_all, [(call, call.turn) for call in calls])

    def ask(self, call: HandlerCall) -> None:
        self._loop.call_soon_threadsafe(self._cancel, call)

    def ping(self) -> bool:
        """Whether the last ping was answered; if so, ping again."""
        if self._answered != self._pinged:
            return False
        self._pinged += 1
        self._loop.call_soon_threadsafe(self._answer, self._pinged)
        return True

    def stop(self) -> None:
        """End the thread once its loop comes to it; whatever still runs there is cancelled."""
        self._loop.call_soon_threadsafe(self._loop.stop)

    def join(self, timeout_s: float) -> None:
        """Wait for the thread; blocks."""
        self._thread.join(timeout_s)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            tasks = asyncio.all_tasks(self._loop)
            for task in tasks:
                task.cancel()
            if tasks:
                self._loop.run_until_complete(asyncio.wait(tasks, timeout=1.0))
        finally:
            self._loop.close()

    def _begin_all(self, calls: Sequence[tuple[HandlerCall, Turn]]) -> None:
        for call, turn in calls:
            task = self._loop.create_task(self._run(call, turn))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self, call: HandlerCall, turn: Turn) -> None:
        if taken(turn):
            call.task = asyncio.current_task()
            self._end(call, await call.run_async() if call.handler.is_async else call.run_sync())

    def _end(self, call: HandlerCall, ended: Ended) -> None:
        self._outbox.put(call, ended)
        if not self._posting:  # behind the other handlers that are ready now: they end before the wake-up
            self._posting = True
            self._loop.call_soon(self._post)

    def _post(self) -> None:
        self._posting = False
        self._outbox.post()

    def _cancel(self, call: HandlerCall) -> None:
        if taken(call.turn):
            self._end(call, UNBEGUN)
        elif call.task is not None:
            call.task.cancel()

    def _answer(self, number: int) -> None:
        self._answered = number


class HandlerThreads:
    """Daemon threads for sync handlers, at most ``limit`` beside abandoned ones; more calls wait their turn."""

    def __init__(self, outbox: Outbox, limit: int) -> None:
        self._outbox = outbox
        self._calls: queue.SimpleQueue[HandlerCall | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._limit = limit
        self._threads = 0
        self._unended = 0

    def submit(self, calls: Sequence[HandlerCall]) -> None:
        with self._lock:
            self._unended += len(calls)
            self._add_threads()
        for call in calls:
            self._calls.put(call)

    def ask(self, call: HandlerCall) -> None:
        call.context.stop_requested = True
        if taken(call.turn):
            self._outbox.put(call, UNBEGUN)
            self._outbox.post()

    def give_up(self) -> None:
        """A call is abandoned: its thread no longer counts, so that waiting calls get another."""
        with self._lock:
            self._limit += 1
            self._add_threads()

    def close(self) -> None:
        """Let idle threads end; a thread in a handler ends after it."""
        for _ in range(self._threads):
            self._calls.put(None)

    def _add_threads(self) -> None:
        while self._threads < min(self._unended, self._limit):
            try:
                threading.Thread(target=self._serve, name=f"handler-{next(_numbers)}", daemon=True).start()
            except RuntimeError:  # the system has no more: those that are there take the calls in turn
                return
            self._threads += 1

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            if taken(call.turn):
                self._outbox.put(call, call.run_sync())
                self._outbox.post()
            with self._lock:
                self._unended -= 1
                if call.finished:  # it was abandoned: its place is taken
                    self._limit -= 1
                    self._threads -= 1
                    return
