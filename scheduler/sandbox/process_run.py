"""Runs one attempt in a child process, from its fresh directory to its recorded end."""

import asyncio
import contextlib
import errno
import json
import math
import os
import shutil
import signal
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from scheduler.clock import Clock
from scheduler.ports import AttemptContext, Ended, StopRequest
from scheduler.sandbox.bubblewrap import Bubblewrap
from scheduler.sandbox.children import Child, ChildOrder
from scheduler.sandbox.environment import UnusableOrderError
from scheduler.sandbox.handlers import HandlerRegistry
from scheduler.sandbox.ladder import Ladder, Step
from scheduler.sandbox.launching import Children
from scheduler.sandbox.left_files import PROGRESS_NAME, progress_left, with_left_files
from scheduler.sandbox.means import Means
from scheduler.sandbox.output import live_piece, one_line
from scheduler.sandbox.process_work import Workplace, child_order
from scheduler.sandbox.resource_words import exceeded, limit_words
from scheduler.sandbox.results import DISK_METRIC, RESULT_BYTES, bases_told, metrics_of, parse_result, with_metric
from scheduler.sandbox.warm import Recycling
from schemas.vocabulary import Outcome
from schemas.work import CommandWork, HandlerWork, PythonWork, ScriptWork, WorkOrder

LINGER_S = 1.0
"""How long what a job left behind may go on writing after the job's end, before it is killed."""
_ENDING_S = 0.1
"""What closed the output is probably about to end by itself: the time it gets for that."""
GONE_S = 5.0
"""How long a kill may take before the attempt is ended without waiting on (a process stuck in the kernel)."""
_REPORT_BYTES = 2 * RESULT_BYTES


class ProcessRuns:
    """Runs commands, scripts and python functions in children of the launcher."""

    def __init__(
        self,
        *,
        code_dir: Path,
        run_dir: Path,
        registry: HandlerRegistry,
        means: Means,
        recycling: Recycling,
        bubblewrap: Bubblewrap | None,
        clock: Clock,
    ) -> None:
        self._code_dir = code_dir.resolve()
        self._run_dir = run_dir
        self._registry = registry
        self._means = means
        self._clock = clock
        self._recycling = recycling
        self._bubblewrap = bubblewrap
        self._children = Children(clock, recycling)

    async def run(
        self, order: WorkOrder, context: AttemptContext, stop: StopRequest, secrets: Mapping[str, str]
    ) -> Ended:
        """Return how the attempt ended. CancelledError kills the job first."""
        ladder = Ladder(order.limits, self._clock.monotonic())
        attempt_dir = self._folder(context)
        try:
            attempt_dir.mkdir(mode=0o700)
            place = Workplace(self._code_dir, attempt_dir, self._registry.modules, self._recycling)
            what = child_order(order, context, secrets, place)
            if order.resources is not None:
                what = replace(what, limits=limit_words(order.resources, self._means, attempt_dir))
            if order.isolation == "sandbox":
                what = self._enclosed(what, order, attempt_dir)
            return await self._run_child(what, order, context, stop, ladder)
        except UnusableOrderError as error:
            return Ended(Outcome.FAILED, reason=one_line(str(error)))
        except (OSError, UnicodeError) as error:
            return Ended(Outcome.FAILED, reason=one_line(f"could not be started: {error}"))
        finally:
            await self._clear(attempt_dir)

    async def close(self) -> None:
        await self._children.close()

    async def _run_child(
        self, what: ChildOrder, order: WorkOrder, context: AttemptContext, stop: StopRequest, ladder: Ladder
    ) -> Ended:
        child, attempt_dir, voice = await self._children.launch(what), self._folder(context), context.voice
        voice.output = partial(live_piece, child.output)
        left = partial(progress_left, attempt_dir / PROGRESS_NAME)
        voice.source = child.read_progress if what.wants_result else left
        try:
            await self._supervise(child, stop, ladder)
            await asyncio.wait({child.output_closed}, timeout=LINGER_S)
            await asyncio.wait({child.gone}, timeout=_ENDING_S)
            if not child.kept:
                child.kill()
            futures: set[asyncio.Future[Any]] = {child.gone, child.output_closed}
            await asyncio.wait(futures, timeout=GONE_S)
            ended = _ended(child, what, order, ladder, attempt_dir)
            voice.end()
        except asyncio.CancelledError:
            child.kill()
            await asyncio.wait({child.gone}, timeout=GONE_S)
            raise
        else:
            if child.kept and ladder.outcome is None and child.output_closed.done():
                self._children.keep(child, what)
            return ended
        finally:
            voice.end()
            child.close()

    def _enclosed(self, what: ChildOrder, order: WorkOrder, attempt_dir: Path) -> ChildOrder:
        if self._bubblewrap is None:
            raise UnusableOrderError("this executor has no bubblewrap for isolation: sandbox; it is not run without")
        network = None if order.resources is None else order.resources.network
        return self._bubblewrap.enclose(what, self._code_dir, attempt_dir, network or "none")

    def _folder(self, context: AttemptContext) -> Path:
        return self._run_dir / f"{context.run_id}.{context.attempt}.{context.lease_token.hex[:8]}"

    async def _supervise(self, child: Child, stop: StopRequest, ladder: Ladder) -> None:
        """Climb the ladder until the job's main process has ended."""
        asked = asyncio.Event()
        stop.listen(asked.set)
        waiting = asyncio.ensure_future(asked.wait())
        try:
            while not child.ended.done():
                futures: set[asyncio.Future[Any]] = {child.ended, waiting}
                timeout = ladder.wait_s(self._clock.monotonic())
                await asyncio.wait(futures, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                if child.ended.done():
                    return
                now = self._clock.monotonic()
                step = ladder.step(now)
                if asked.is_set():
                    asked.clear()
                    waiting = asyncio.ensure_future(asked.wait())
                    wish = ladder.stop(stop.reason or "", now, at_once=stop.at_once)
                    step = wish if step is Step.WAIT else step
                if step is Step.ASK:
                    child.ask()
                elif step is Step.KILL:
                    child.kill()
                    await asyncio.wait({child.ended}, timeout=GONE_S)
                    return
        finally:
            waiting.cancel()

    async def _clear(self, attempt_dir: Path) -> None:
        try:
            attempt_dir.rmdir()  # noqa: ASYNC240 - most jobs leave it empty: one cheap call
        except OSError:
            with contextlib.suppress(OSError):
                await asyncio.shield(asyncio.to_thread(shutil.rmtree, attempt_dir, ignore_errors=True))


def _ended(child: Child, what: ChildOrder, order: WorkOrder, ladder: Ladder, attempt_dir: Path) -> Ended:
    ended = replace(_outcome(child, what, order, ladder, attempt_dir), usage=child.usage)
    if child.disk_bytes is not None:
        ended = replace(ended, metrics=with_metric(ended.metrics, DISK_METRIC, child.disk_bytes))
    reason = None if order.resources is None else exceeded(order.resources, child.exceeded, ended)
    if reason is None or ladder.outcome is not None:
        return ended
    return replace(ended, outcome=Outcome.OUT_OF_LIMITS, reason=reason)


def _outcome(child: Child, what: ChildOrder, order: WorkOrder, ladder: Ladder, attempt_dir: Path) -> Ended:
    status = child.ended.result() if child.ended.done() else None
    output = child.output.finish()
    if status is None and ladder.outcome is not None:
        return Ended(ladder.outcome, reason=one_line(f"{ladder.reason}; no end was seen"), output=output)
    if status is None:
        return Ended(Outcome.FAILED, reason=one_line(_refusal(child, what)), output=output)
    number, exit_code = _decoded(status)
    ended = Ended(
        outcome=Outcome.SUCCEEDED if exit_code == 0 else Outcome.FAILED,
        reason=_end_reason(exit_code, number),
        exit_code=exit_code,
        signal=number,
        output=output,
    )
    if isinstance(order.work, PythonWork | HandlerWork):
        ended = _with_report(ended, child.read_result(_REPORT_BYTES))
    elif isinstance(order.work, CommandWork | ScriptWork):
        ended = with_left_files(ended, attempt_dir)
    if ladder.outcome is not None:
        ended = replace(ended, outcome=ladder.outcome, reason=ladder.reason)
    left = child.gone.result() if child.gone.done() else 0
    if left and number != signal.SIGKILL:  # else all was killed together
        said = f"processes it left behind were killed: {left}"
        ended = replace(ended, reason=one_line("; ".join(filter(None, (ended.reason, said)))))
    return ended


def _decoded(status: int) -> tuple[int | None, int | None]:
    if os.WIFSIGNALED(status):
        return os.WTERMSIG(status), None
    return None, os.WEXITSTATUS(status)


def _end_reason(exit_code: int | None, number: int | None) -> str | None:
    if number is not None:
        names = {known.value: known.name for known in signal.Signals}
        return f"ended by {names.get(number, f'signal {number}')}"
    return f"exit code {exit_code}" if exit_code else None


def _refusal(child: Child, what: ChildOrder) -> str:
    if child.refusal is None:
        return "it could not be followed: its warden ended" if child.pid else "could not be started: the launcher ended"
    number, step = child.refusal
    subject = {"cwd": what.cwd, "limits": "its resources cannot be limited"}.get(step, what.argv[0])
    if number == errno.ENOENT and step == "exec":
        return f"there is no program {subject}"
    return f"could not be started: {subject}: {os.strerror(number) if number else 'unusable order'}"


def _with_report(ended: Ended, raw: bytes) -> Ended:
    """Add what a python child says about itself; it may be missing or wrong, since a job can write there."""
    try:
        report = json.loads(raw) if raw else {}
        result = parse_result(json.dumps(report.get("result")).encode())
        reason, exception, bases = report.get("reason"), report.get("exception"), bases_told(report.get("bases"))
    except (ValueError, AttributeError, RecursionError):
        return replace(ended, reason="result dropped: the report cannot be read")
    snooze_s = report.get("snooze_s")
    if ended.exit_code == 0 and isinstance(snooze_s, int | float) and 0 <= snooze_s < math.inf:
        ended = replace(ended, outcome=Outcome.SNOOZED, retry_after_s=float(snooze_s))
    return replace(
        ended,
        result=result,
        reason=one_line(reason) if isinstance(reason, str) else ended.reason,
        exception=one_line(exception) if isinstance(exception, str) else None,
        exception_bases=bases,
        metrics=metrics_of(report.get("metrics")),
    )
