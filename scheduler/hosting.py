"""Holds one process's work: begins it again until the world is there, answers probes, drains on a signal."""

import asyncio
import gc
import os
import random
import signal
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import structlog

from scheduler.clock import Clock
from scheduler.errors import TransientError
from scheduler.metrics import Measure, Metrics
from scheduler.ports import Transport
from scheduler.probe import Probe

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_FIRST_BACKOFF_S: Final = 0.2
_LONGEST_BACKOFF_S: Final = 5.0
_COLLECT_EVERY: Final = 20_000
"""New objects between two looks for cycles among the young ones."""
_CHECK_S: Final = 2.0
"""A database that does not answer within this is not ready."""

Check = Callable[[], Awaitable[str | None]]
"""Says what is wrong at this moment, or None."""


class Waits:
    """What a process waits for while it opens its world, for those who ask meanwhile."""

    def __init__(self) -> None:
        self.why: Callable[[], str] | None = None
        """Says in one line what is in the way; None: nothing is waited for."""


class LinkCheck:
    """Whether messages pass through the broker, and how long one took last; None: it did not come back."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.round_trip_s: float | None = None

    async def __call__(self) -> str | None:
        self.round_trip_s = None
        self.round_trip_s = await self._transport.send_canary()
        return None


class Drainable(Protocol):
    """What is begun and ended: an actor, or all of them."""

    async def start(self) -> None: ...
    async def drain(self) -> None: ...
    async def stop(self) -> None: ...
    def troubles(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class Work:
    """A service that is made and not started, and what must hold beside it for the process to be ready."""

    service: Drainable
    checks: Mapping[str, Check]
    measure: Measure | None = None
    """Reads what the rows say for /metrics; None: it has no rows to read."""


class Front(Protocol):
    """What answers HTTP for a process in the probe's place, from its first moment to its last."""

    async def start(self) -> None: ...
    async def drain(self) -> None: ...


Prepare = Callable[[AsyncExitStack], Awaitable[Work]]
"""Opens what the work needs; what is pushed on the stack is closed when the work ends or cannot begin."""


@dataclass(frozen=True, slots=True)
class ProbeAddress:
    host: str
    port: int
    or_any: bool
    """Take any port when that one is taken."""
    token: str | None = field(default=None, repr=False)
    """What /metrics asks for; beyond loopback there must be one."""


class Host:
    """Runs one piece of work for the life of the process."""

    def __init__(
        self,
        name: str,
        prepare: Prepare,
        metrics: Metrics,
        clock: Clock,
        rng: random.Random,
        waits: Waits | None = None,
    ) -> None:
        self.name = name
        self._prepare = prepare
        self._metrics = metrics
        self._clock = clock
        self._rng = rng
        self._work: Work | None = None
        self._waits = waits or Waits()
        self._trouble = "is starting"

    async def run(self, stopping: asyncio.Event, address: ProbeAddress, front: Front | None = None) -> None:
        """Work until ``stopping`` is set, then drain. A world that is away is waited for.

        ``front`` answers for the process instead of a probe at ``address``.

        Raises:
            ConfigurationError: waiting would not help.
        """
        if front is not None:
            await front.start()
            end = front.drain
        else:
            probe = Probe(self._metrics, self.troubles, self.round_trips, address.token)
            await probe.start(address.host, address.port, or_any=address.or_any)
            end = probe.close
        try:
            backoff = _FIRST_BACKOFF_S
            while not stopping.is_set():
                try:
                    await self._once(stopping)
                except TransientError as error:
                    self._trouble = str(error)
                    log.warning("host.retried", host=self.name, error=self._trouble)
                    await self._pause(stopping, backoff * self._rng.uniform(0.5, 1.0))
                    backoff = min(backoff * 2, _LONGEST_BACKOFF_S)
        finally:
            await end()

    async def troubles(self) -> Mapping[str, str]:
        """Return what keeps the process from being ready, by part; empty when ready."""
        work = self._work
        if work is None:
            why = self._waits.why
            return {self.name: self._trouble if why is None else why()}
        answers = await asyncio.gather(*(_answer(check) for check in work.checks.values()))
        found = {part: answer for part, answer in zip(work.checks, answers, strict=True) if answer is not None}
        return found | dict(work.service.troubles())

    def round_trips(self) -> Mapping[str, float]:
        """Return the seconds that a message last took through each part that passes messages on."""
        checks = {} if self._work is None else self._work.checks
        times = {part: check.round_trip_s for part, check in checks.items() if isinstance(check, LinkCheck)}
        return {part: seconds for part, seconds in times.items() if seconds is not None}

    async def _once(self, stopping: asyncio.Event) -> None:
        async with AsyncExitStack() as stack:
            # Signals must be heard while something is slow to open: the first one gives it up.
            work = await _unless(stopping, self._prepare(stack))
            if work is None:
                return
            stack.push_async_callback(work.service.stop)
            await work.service.start()
            self._work = work
            self._metrics.measure = work.measure
            _calm_collector()
            log.info("host.started", host=self.name)
            try:
                await stopping.wait()
                log.info("host.draining", host=self.name)
                await work.service.drain()
                log.info("host.drained", host=self.name)
            finally:
                self._work = self._metrics.measure = None
                self._trouble = "is stopped"

    async def _pause(self, stopping: asyncio.Event, seconds: float) -> None:
        await _unless(stopping, self._clock.sleep(seconds))


def _calm_collector() -> None:
    """Keep the cyclic collector off the hot path.

    What is loaded by now stays for the life of the process and need not be looked through again. A
    batch makes thousands of objects that are freed by their counts alone; looking for cycles each
    700 of them costs a tenth of the CPU, and now and then a pause of tens of milliseconds.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_EVERY, 20, 50)


async def _unless(stopping: asyncio.Event, what: Awaitable[Any]) -> Any:
    """Return what ``what`` returns, or None when ``stopping`` comes first."""
    task = asyncio.ensure_future(what)
    stop = asyncio.ensure_future(stopping.wait())
    try:
        await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        for future in (task, stop):
            future.cancel()
        await asyncio.gather(task, stop, return_exceptions=True)


async def _answer(check: Check) -> str | None:
    try:
        async with asyncio.timeout(_CHECK_S):
            return await check()
    except TimeoutError:
        return "does not answer"
    except TransientError as error:
        return str(error)


def serve(
    main: Callable[[asyncio.Event], Coroutine[Any, Any, int]],
    *,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> int:
    """Run ``main`` on a loop of its own and return its exit code.

    The first SIGTERM or SIGINT sets the event it is given; the second cancels it (143 or 130); the
    third ends the process on the spot.
    """
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(_under_signals(main))


async def _under_signals(main: Callable[[asyncio.Event], Coroutine[Any, Any, int]]) -> int:
    stopping = asyncio.Event()
    seen: list[int] = []
    task = asyncio.ensure_future(main(stopping))

    def on_signal(number: int) -> None:
        seen.append(number)
        if len(seen) == 1:
            stopping.set()
        elif len(seen) == 2:  # noqa: PLR2004 - the second
            task.cancel()
        else:
            os._exit(128 + number)

    _on_signals((signal.SIGTERM, signal.SIGINT), on_signal)
    try:
        return await task
    except asyncio.CancelledError:
        if len(seen) < 2:  # noqa: PLR2004 - the second
            raise
        return 128 + seen[1]


def _on_signals(numbers: Sequence[signal.Signals], listener: Callable[[int], None]) -> None:
    for number in numbers:
        asyncio.get_running_loop().add_signal_handler(number, listener, number)
