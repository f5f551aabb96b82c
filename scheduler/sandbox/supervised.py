"""Keeps what runs on the executor's own loop within its limits: requests and messages."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from scheduler.clock import Clock
from scheduler.ports import Ended, StopRequest
from scheduler.sandbox.ladder import Ladder, Step
from scheduler.sandbox.output import one_line
from schemas.work import TimeLimits


async def within_limits(
    attempt: Coroutine[Any, Any, Ended], limits: TimeLimits, stop: StopRequest, clock: Clock
) -> Ended:
    """Return how ``attempt`` ended. It is cancelled when its time is over, or somebody wants it to stop."""
    ladder = Ladder(limits, clock.monotonic())
    work = asyncio.ensure_future(attempt)
    asked = asyncio.Event()
    stop.listen(asked.set)
    waiting = asyncio.ensure_future(asked.wait())
    try:
        while not work.done():
            now = clock.monotonic()
            if asked.is_set() and ladder.outcome is None:
                ladder.stop(stop.reason or "", now, at_once=True)
                work.cancel()
            if ladder.step(now) is not Step.WAIT:
                work.cancel()
            futures: set[asyncio.Future[Any]] = {work} if asked.is_set() else {work, waiting}
            await asyncio.wait(futures, timeout=ladder.wait_s(now), return_when=asyncio.FIRST_COMPLETED)
        if ladder.outcome is not None:
            return Ended(ladder.outcome, reason=one_line(ladder.reason))
        return work.result()
    finally:
        waiting.cancel()
        work.cancel()
        await asyncio.wait({work})
