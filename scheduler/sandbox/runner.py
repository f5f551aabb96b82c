"""The runner: what an executor hands work orders to. It keeps them within their limits and tells how they ended.

What runs where: commands, scripts and python functions as children of a small launcher process
(``launcher.py``, ``warden.py``), HTTP requests and messages on the executor's loop, handlers in a thread with a
loop of their own or in daemon threads, so that none of them can stop the executor's heartbeats.
"""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import structlog

from scheduler.clock import Clock
from scheduler.errors import ConfigurationError
from scheduler.ports import AttemptContext, Ended, InlineDone, InlineStart, StopRequest
from scheduler.sandbox.address_guard import NetworkPolicy
from scheduler.sandbox.bubblewrap import Bubblewrap
from scheduler.sandbox.environment import UnusableOrderError, resolve_secrets
from scheduler.sandbox.handler_runs import HandlerRuns
from scheduler.sandbox.handlers import Handler, HandlerRegistry
from scheduler.sandbox.http_run import HttpRuns
from scheduler.sandbox.masking import Mask
from scheduler.sandbox.means import Means, find_means
from scheduler.sandbox.output import one_line
from scheduler.sandbox.process_run import ProcessRuns
from scheduler.sandbox.publish_run import PublishRuns
from scheduler.sandbox.run_directory import RunDirectory
from scheduler.sandbox.warm import Recycling
from scheduler.sending import NoSender, Sender
from schemas.vocabulary import Outcome
from schemas.work import HandlerWork, HttpWork, PublishWork, WorkOrder

CLOSE_S = 10.0
"""How long ``close`` waits for runs that it has killed."""

_IN_PROCESSES: Final = frozenset({"process", "sandbox"})

log: structlog.stdlib.BoundLogger = structlog.get_logger()

__all__ = ["AttemptContext", "Ended", "InlineStart", "NetworkPolicy", "Runner", "StopRequest"]


class Runner:
    """The Sandbox of this host. Belongs to one event loop, of whatever kind; ``start`` before anything else."""

    def __init__(
        self,
        *,
        code_dir: Path,
        run_dir: Path,
        handlers: HandlerRegistry,
        network: NetworkPolicy,
        clock: Clock,
        means: Means | None = None,
        recycling: Recycling | None = None,
        bubblewrap: Bubblewrap | None = None,
        sender: Sender | None = None,
    ) -> None:
        """``code_dir`` holds scripts and modules.

        Below ``run_dir``, which runners of one user may share, each child gets a fresh directory.
        ``means`` is how resource limits are enforced; None: the strongest means there is.
        ``recycling`` says how long python children are kept for further runs. Without
        ``bubblewrap`` no order with isolation sandbox is run. ``sender`` takes what ``publish`` runs send.
        """
        self._registry = handlers
        self._code_dir = code_dir
        self._base_dir = run_dir
        self._http = HttpRuns(network, clock)
        self._publish = PublishRuns(sender or NoSender(), clock)
        self._clock = clock
        self._means = means
        self._recycling = recycling or Recycling()
        self._bubblewrap = bubblewrap
        self._directory: RunDirectory | None = None
        self._processes: ProcessRuns | None = None
        self._handlers: HandlerRuns | None = None
        self._running: dict[asyncio.Task[object], StopRequest] = {}

    @property
    def handlers(self) -> tuple[str, ...]:
        """Names of the registered handlers, sorted."""
        return self._registry.names

    @property
    def abandoned(self) -> int:
        """Handler calls since the start that outlived their kill; their threads may still run."""
        return 0 if self._handlers is None else self._handlers.abandoned

    async def start(self) -> None:
        """Make ready.

        Raises:
            ConfigurationError: the run directory cannot be made.
        """
        try:
            self._directory = await asyncio.to_thread(RunDirectory, self._base_dir)
        except OSError as error:
            raise ConfigurationError(f"run directory {self._base_dir}: {error.strerror}") from None
        means = await asyncio.to_thread(find_means) if self._means is None else self._means
        log.info("limits.held", by=means.kind)
        self._processes = ProcessRuns(
            code_dir=self._code_dir,
            run_dir=self._directory.path,
            registry=self._registry,
            means=means,
            recycling=self._recycling,
            bubblewrap=self._bubblewrap,
            clock=self._clock,
        )
        self._handlers = HandlerRuns(self._clock)

    async def run(self, order: WorkOrder, context: AttemptContext, stop: StopRequest) -> Ended:
        """Run one attempt to its end. Raises nothing but CancelledError, and that after the job is killed.

        A job that was asked to stop or ran out of time has the outcome cancelled or timed_out
        however it ends. Its result and output are kept in any case. The values of its secrets are
        masked in all that is said of it.
        """
        task = asyncio.current_task()
        if task is not None:
            self._running[task] = stop
        mask = Mask(())
        try:
            secrets = await asyncio.to_thread(resolve_secrets, order.secrets) if order.secrets else {}
            mask = context.voice.mask = Mask(secrets.values())
            return mask.ended(await self._run(order, context, stop, secrets))
        except UnusableOrderError as error:
            return Ended(Outcome.FAILED, reason=one_line(str(error)))
        except Exception as error:  # noqa: BLE001 - one order must never harm the executor
            reason = one_line(f"could not be run: {type(error).__name__}: {error}")
            return mask.ended(Ended(Outcome.FAILED, reason=reason))
        finally:
            if task is not None:
                self._running.pop(task, None)

    def is_inline(self, order: WorkOrder) -> bool:
        """Whether ``start_inline`` may be used for this order."""
        handler = self._handler_of(order)
        if handler is None or order.secrets:
            return False
        return order.isolation == "inline" or (order.isolation is None and handler.is_async)

    def start_inline(self, starts: Sequence[InlineStart], on_done: InlineDone) -> None:
        """Start many handler runs at once; each end comes to ``on_done`` exactly once, in batches, on this loop.

        Raises:
            ValueError: one of the orders is not inline, or the runner is not started; then none is started.
        """
        found: list[tuple[InlineStart, Handler, Mapping[str, str]]] = []
        for start in starts:
            handler = self._handler_of(start.order)
            if handler is None or not self.is_inline(start.order):
                raise ValueError(f"job {start.order.job} cannot be run inline")
            found.append((start, handler, {}))
        self._started().start(found, on_done, in_thread=False)

    async def close(self) -> None:
        """Kill what is left and report it as cancelled; nothing can be run afterwards."""
        for stop in self._running.values():
            stop.request("the executor stops", at_once=True)
        if self._running:
            await asyncio.wait(set(self._running), timeout=CLOSE_S)
        if self._handlers is not None:
            handlers, self._handlers = self._handlers, None
            await handlers.close()
        if self._processes is not None:
            await self._processes.close()
        if self._directory is not None:
            await asyncio.to_thread(self._directory.close)
            self._directory = None

    async def _run(
        self, order: WorkOrder, context: AttemptContext, stop: StopRequest, secrets: Mapping[str, str]
    ) -> Ended:
        work = order.work
        if order.isolation in _IN_PROCESSES or not isinstance(work, HttpWork | PublishWork | HandlerWork):
            if isinstance(work, HttpWork | PublishWork) or order.isolation not in {None, *_IN_PROCESSES}:
                return Ended(Outcome.FAILED, reason=f"a {work.kind} run cannot have isolation {order.isolation}")
            if self._processes is None:
                raise ValueError("the runner is not started")
            return await self._processes.run(order, context, stop, secrets)
        if isinstance(work, HttpWork):
            return await self._http.run(order, work, context, stop, secrets)
        if isinstance(work, PublishWork):
            return await self._publish.run(order, work, context, stop)
        handler = self._handler_of(order)
        if handler is None:
            return Ended(Outcome.FAILED, reason=f"this executor has no handler {work.name}")
        return await self._call(InlineStart(order, context, stop), handler, secrets)

    async def _call(self, start: InlineStart, handler: Handler, secrets: Mapping[str, str]) -> Ended:
        order = start.order
        end: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()

        def on_done(batch: list[tuple[InlineStart, Ended]]) -> None:
            if not end.done():
                end.set_result(batch[0][1])

        in_thread = order.isolation == "thread" or (order.isolation is None and not handler.is_async)
        self._started().start([(start, handler, secrets)], on_done, in_thread=in_thread)
        try:
            return await asyncio.shield(end)
        except asyncio.CancelledError:
            start.stop.request("the executor stops", at_once=True)
            await asyncio.wait({end}, timeout=CLOSE_S)
            raise

    def _handler_of(self, order: WorkOrder) -> Handler | None:
        return self._registry.find(order.work.name) if isinstance(order.work, HandlerWork) else None

    def _started(self) -> HandlerRuns:
        if self._handlers is None:
            raise ValueError("the runner is not started")
        return self._handlers
