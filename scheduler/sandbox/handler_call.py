"""One call of a handler: what it is given, how it ends."""

import asyncio
import inspect
from collections.abc import Callable, Mapping
from functools import partial

from scheduler.ports import AttemptContext, Ended, InlineDone, InlineStart, StopRequest
from scheduler.sandbox.failure import bases_of, raised_line, short_traceback
from scheduler.sandbox.handlers import Handler, HandlerContext, SnoozedError
from scheduler.sandbox.ladder import Ladder
from scheduler.sandbox.output import OutputBuffer, live_piece, one_line
from scheduler.sandbox.results import UnusableResultError, result_of
from scheduler.voice import Voice
from schemas.facts import Output
from schemas.vocabulary import Outcome
from schemas.work import WorkOrder

SUCCEEDED = Ended(Outcome.SUCCEEDED)
UNBEGUN = Ended(Outcome.CANCELLED, reason="stopped before it began")
Turn = list[None]
"""The right to begin a call: one token, taken by whoever pops it first, in whatever thread."""


def taken(turn: Turn) -> bool:
    """Take the right to begin; False when somebody has it already."""
    try:
        turn.pop()
    except IndexError:
        return False
    return True


class HandlerCall:
    """A handler's call on its way. The ladder, ``finished`` and ``place`` belong to the runner's loop."""

    __slots__ = ("_log", "context", "finished", "handler", "ladder", "on_done", "place", "start", "task", "turn")

    def __init__(
        self, start: InlineStart, handler: Handler, secrets: Mapping[str, str], ladder: Ladder, on_done: InlineDone
    ) -> None:
        self.start = start
        self.handler = handler
        self.ladder = ladder
        self.on_done = on_done
        self.finished = False
        self.place: object = None
        """Where it runs: a HandlerLoop, or the threads."""
        self.task: asyncio.Task[None] | None = None
        self.turn: Turn = [None]
        self._log = _Log(start.context.voice)
        self.context = _handler_context(start.order, start.context, secrets, self._log.write)

    @property
    def order(self) -> WorkOrder:
        return self.start.order

    @property
    def stop(self) -> StopRequest:
        return self.start.stop

    async def run_async(self) -> Ended:
        """Call an async handler on the present loop."""
        try:
            return self._returned(await self.handler.function(self.context, self.order.params))
        except BaseException as error:  # noqa: BLE001 - SystemExit and its like end the run, not the executor
            return self._raised(error)

    def run_sync(self) -> Ended:
        """Call the handler in the present thread; an async one gets a loop of its own."""
        try:
            value = self.handler.function(self.context, self.order.params)
            return self._returned(asyncio.run(value) if inspect.iscoroutine(value) else value)
        except BaseException as error:  # noqa: BLE001 - see run_async
            return self._raised(error)

    def _returned(self, value: object) -> Ended:
        if value is None and self._log.buffer is None and self.context.metrics is None:
            return SUCCEEDED
        try:
            result, reason = result_of(value), None
        except UnusableResultError as error:
            result, reason = None, one_line(f"result dropped: {error}")
        return Ended(
            Outcome.SUCCEEDED, reason=reason, result=result, output=self._log.finish(), metrics=self.context.metrics
        )

    def _raised(self, error: BaseException) -> Ended:
        if isinstance(error, SnoozedError):
            return Ended(
                Outcome.SNOOZED,
                reason=one_line(error.reason) or None,
                retry_after_s=error.seconds,
                output=self._log.finish(),
                metrics=self.context.metrics,
            )
        self._log.write(short_traceback(error).rstrip("\n"))
        return Ended(
            Outcome.FAILED,
            reason=one_line(raised_line(error)),
            exception=type(error).__name__,
            exception_bases=bases_of(error),
            output=self._log.finish(),
            metrics=self.context.metrics,
        )


class _Log:
    """What a handler logs; made on the first line, and apart from the call, which would else be a cycle."""

    __slots__ = ("_voice", "buffer")

    def __init__(self, voice: Voice) -> None:
        self._voice = voice
        self.buffer: OutputBuffer | None = None

    def write(self, text: str) -> None:
        if self.buffer is None:
            self.buffer = OutputBuffer()
            self._voice.output = partial(live_piece, self.buffer)
        self.buffer.feed_line(text)

    def finish(self) -> Output | None:
        return None if self.buffer is None else self.buffer.finish()


def _handler_context(
    order: WorkOrder, attempt: AttemptContext, secrets: Mapping[str, str], write: Callable[[str], None]
) -> HandlerContext:
    return HandlerContext(
        tenant=attempt.tenant,
        job=order.job,
        run_id=attempt.run_id,
        attempt=attempt.attempt,
        fence=attempt.lease_token,
        flow_id=order.flow_id,
        fired_at=order.fired_at,
        results=order.results,
        write=write,
        secrets=secrets,
        tell=attempt.voice.hear,
    )
