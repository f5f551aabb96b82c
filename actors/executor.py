"""Executor: runs the attempts of one pool. Starts nothing that was not granted to it.

Hears   attempt.start; on its control queue claim.answered, heartbeat.recorded, attempt.cancel, attempt.follow
Says    attempt.claim, attempt.returned, executor.heartbeat, attempt.finished, attempt.told
Writes  its spool of ends; nothing in the database
"""

import asyncio
import random
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import structlog

from actors.base import BatchHandler
from actors.executing.apart import ATTEMPTS, ApartActor
from actors.executing.desk import Desk, Site
from actors.executing.ends import Ends
from actors.executing.fence import Fence
from actors.executing.finished import Reporter, finished
from actors.executing.heartbeats import Heartbeats
from actors.executing.lines import say_ended, say_started
from actors.executing.running import Grant, Run, Running
from actors.executing.settings import ExecutorSettings
from actors.executing.spool import Spool
from actors.executing.telling import Teller
from actors.suspects import CRASHES, Suspects, reason
from scheduler.clock import Clock
from scheduler.crash import crash_point
from scheduler.errors import SessionLostError, TransientError
from scheduler.ports import Consumer, Delivery, Ended, PublishOutcome, Sandbox, Transport
from scheduler.service import Service
from schemas.commands import CancelAttempt, FollowAttempt, StartAttempt
from schemas.facts import ClaimAnswered, HeartbeatRecorded
from schemas.message import AttemptKey, Message
from schemas.vocabulary import ReturnReason
from schemas.work import HandlerWork, WorkOrder

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_TAKE: Final = 100
_LONGEST_SLEEP_S: Final = 1.0
_LAST_WORDS_S: Final = 10.0


class Executor(ApartActor):
    """An actor with slots. ``sandbox`` has its handlers by now; it is started and closed with the executor."""

    def __init__(
        self, settings: ExecutorSettings, transport: Transport, sandbox: Sandbox, clock: Clock, rng: random.Random
    ) -> None:
        super().__init__(f"executor.{settings.name}", transport, clock, rng)
        self.settings = settings
        self.boot_id = uuid.uuid4()
        self.sandbox = sandbox
        self._handlers = frozenset(sandbox.handlers)
        self.running = Running(sandbox, clock, partial(say_started, settings.name), self._on_ends)
        self.ends = Ends(Spool(settings.state_dir), self.boot_id, self.publish_ends, clock)
        post = partial(self.post, ATTEMPTS)
        site = Site(self._busy, self._refusal, self.learn, self.running.orders)
        self.desk = Desk(settings, self.boot_id, clock, post, site)
        self.heartbeats = Heartbeats(settings, sandbox.handlers, self.boot_id, clock)
        self._fence = Fence(self.running, self.heartbeats, clock)
        self._teller = Teller(self.running, partial(post, "attempt.told"), clock)
        self._reporter = Reporter(settings.name, self.boot_id)
        self._queue = f"scheduler.executor.{settings.pool}"
        self._reachable = asyncio.Event()

    def handlers(self) -> Mapping[type[Message], BatchHandler]:
        """Return what is heard on the control queue; offers are settled apart, see Desk."""
        return {
            ClaimAnswered: self.on_answers,
            HeartbeatRecorded: self.on_recorded,
            CancelAttempt: self.on_cancels,
            FollowAttempt: self._teller.follow,
        }

    async def on_answers(self, answers: Sequence[ClaimAnswered]) -> None:
        """Start what was granted. An offer is settled by its answer, never by the end of the job."""
        self._fence.wake()
        granted: list[Grant] = []
        for answer in answers:
            grant = self.desk.answer(answer)
            if grant is not None:
                granted.append(grant)
                self.heartbeats.learn_lease(answer.lease_s, self.clock.monotonic() - grant.asked_at)
        if granted:
            crash_point("executor.after_grant")
            self.running.start(granted)
            crash_point("executor.after_start")
        self.desk.claim()
        await self.desk.ack()

    async def on_recorded(self, facts: Sequence[HeartbeatRecorded]) -> None:
        """Forget the ends that are stored, stop what somebody wants stopped, kill what is lost."""
        self._fence.wake()
        for fact in facts:
            if fact.boot_id != self.boot_id:
                continue  # the answer to an earlier process of this name
            self.ends.forget(fact.ends)
            self.running.cancel(fact.cancels, "cancelled")
            self.running.kill(fact.kills, "cancelled")
            self.running.kill(fact.lost, "its lease was lost")
            changed = fact.seq is not None and self.heartbeats.recorded(fact.seq) and await self.desk.heed(fact.hold)
            if changed or fact.asks:
                self._send_heartbeat(stopped=False)

    async def on_cancels(self, commands: Sequence[CancelAttempt]) -> None:
        """Ask attempts that run here to stop; the wish is repeated until they do."""
        for command in commands:
            key = AttemptKey(run_id=command.run_id, attempt=command.attempt, lease_token=command.lease_token)
            stop = self.running.kill if command.at_once else self.running.cancel
            stop([key], "cancelled")

    async def start(self) -> None:
        """Lock the spool, start the sandbox, begin to hear.

        Raises:
            ConfigurationError: the state directory cannot be used or belongs to another executor.
        """
        left = self.ends.open()
        if left:
            log.info("spool.found", executor=self.settings.name, ends=left)
        await self.sandbox.start()
        await super().start()
        for name, body in {
            "control": self._hear_control,
            "offers": self._hear_offers,
            "heartbeat": self._beat,
            "fence": self._fence.tend,
            "window": self.desk.window.tend,
            "returns": self.desk.returns.send,
            "overdue": self.desk.tend_overdue,
            "ends": self.ends.tend,
            "telling": self._teller.tend,
        }.items():
            self.keep(name, partial(self._tended, name, body))

    async def drain(self) -> None:
        """Take nothing new, let what runs end within the drain timeout, say all there is to say, stop."""
        if self.desk.closed:
            return
        if self._publisher is not None:
            try:
                await self._wind_up()
            except TransientError as error:
                log.warning("drain.cut_short", executor=self.settings.name, error=str(error))
        await self.stop()

    async def stop(self) -> None:
        """Kill what runs, keep its ends in the spool, go."""
        self.draining = self.desk.closed = True
        await Service.stop(self)
        await self.running.close()
        await super().stop()
        self.ends.close()

    def troubles(self) -> dict[str, str]:
        found = {"heartbeat": self.heartbeats.trouble, "spool": self.ends.trouble, "offers": self.desk.hold}
        return super().troubles() | {name: trouble for name, trouble in found.items() if trouble is not None}

    async def _tended(self, name: str, body: Callable[[], Awaitable[None]]) -> None:
        self.well(name)
        await body()

    async def _hear_control(self) -> None:
        queue = await self.transport.declare_control(self.settings.name)
        self._reachable.set()
        await self._hear(queue)

    async def _hear_offers(self) -> None:
        await self.desk.opened.wait()
        consumer = self._consumers.get(self._queue)
        if consumer is None:
            consumer = await self.transport.consumer(self._queue, credit=self.desk.window.credit, name=self.name)
            self._consumers[self._queue] = consumer
        self.desk.attach(consumer)
        while not self.draining:
            try:
                batch = await consumer.take(_TAKE)
            except SessionLostError:
                self.desk.lose_session()
                continue
            if not batch:
                return
            await self._take_up(consumer, batch)

    async def _take_up(self, consumer: Consumer, batch: Sequence[Delivery]) -> None:
        """Hand what comes for the first time to the desk, and then each delivery that was in hand before."""
        if self.suspects is None:
            await self._take_together(consumer, batch)
            return
        again = [delivery for delivery in batch if delivery.redelivered]
        try:
            await self._take_together(consumer, [delivery for delivery in batch if not delivery.redelivered])
            while again:
                await self._take_alone(self.suspects, consumer, again[0])
                del again[0]
        except TransientError:
            await consumer.release(again)
            raise

    async def _take_alone(self, suspects: Suspects, consumer: Consumer, delivery: Delivery) -> None:
        starts: list[StartAttempt] = []

        async def deal(element: Any) -> None:
            item = await self._read_element(delivery, element, (StartAttempt,))
            if item is not None and isinstance(item.message, StartAttempt):
                starts.append(item.message)

        async with suspects.in_hand(delivery) as crashes:
            elements = self.elements_of(delivery) if crashes else ()
            if crashes >= CRASHES:
                await self._bury(consumer, delivery, reason(crashes))
            elif len(elements) <= 1:
                await self._take_together(consumer, [delivery])
            else:
                await suspects.one_by_one(delivery, elements, deal, self._bury_element)
                await self.desk.take([(delivery, starts)])

    async def _take_together(self, consumer: Consumer, batch: Sequence[Delivery]) -> None:
        """Hand the readable elements to the desk; what cannot be read was buried on the way."""
        try:
            items, buried = await self._read(consumer, batch, (StartAttempt,))
        except TransientError:
            await consumer.release(batch)
            raise
        starts: dict[int, list[StartAttempt]] = {id(delivery): [] for delivery in batch if id(delivery) not in buried}
        for item in items:
            if isinstance(item.message, StartAttempt):
                starts[id(item.delivery)].append(item.message)
        await self.desk.take([(delivery, starts[id(delivery)]) for delivery in batch if id(delivery) in starts])

    def _busy(self) -> int:
        """Return the slots that are taken; all of them while too many ends are owed."""
        return self.settings.slots if self.ends.overflowing else len(self.running)

    def _refusal(self, order: WorkOrder) -> ReturnReason | None:
        """Return why an order is not for this executor at all; None: it is."""
        if isinstance(order.work, HandlerWork) and order.work.name not in self._handlers:
            return ReturnReason.NO_HANDLER
        if order.labels and not order.labels.items() <= self.settings.labels.items():
            return ReturnReason.NO_LABEL
        return ReturnReason.NO_SANDBOX if order.isolation == "sandbox" and not self.settings.sandboxes else None

    def _on_ends(self, ended: Sequence[tuple[Run, Ended]]) -> None:
        self._teller.say_last(run for run, _ in ended)
        at = self.clock.now(), self.clock.monotonic()
        say_ended(self.settings.name, ended, at[1])
        self.ends.add([finished(run, end, self.ends.next_seq(), self._reporter, at=at) for run, end in ended])
        self.desk.claim()

    async def _beat(self) -> None:
        """Say that this executor lives as soon as an answer would reach it, then three times in each lease."""
        await self._reachable.wait()
        while True:
            self._send_heartbeat(stopped=False)
            while (wait_s := self.heartbeats.wait_s) > 0:
                await self.clock.sleep(min(wait_s, _LONGEST_SLEEP_S))

    def _send_heartbeat(self, *, stopped: bool) -> "list[asyncio.Future[PublishOutcome]]":
        state: dict[str, Any] = {"busy": len(self.running), "draining": self.desk.shut, "stopped": stopped}
        beats = self.heartbeats.make(self.running.keys(), self.ends.missed(), **state)
        for store in self.running.stores():
            beats += self.heartbeats.make(self.running.keys(store), (), store=store, **state)
        return self.post(ATTEMPTS, "executor.heartbeat", beats, persistent=False, size=1)

    async def _wind_up(self) -> None:
        # ``draining`` would end the loops, and answers have still to be heard: it is the desk that closes.
        await self.desk.close()
        self._send_heartbeat(stopped=False)
        if not await self._within(self.settings.drain_timeout_s, self.running.none()):
            self.running.abandon()
            await self._within(_LAST_WORDS_S, self.running.none())
        await self._within(_LAST_WORDS_S, self._all_said())
        await asyncio.gather(*self._send_heartbeat(stopped=True))

    async def _all_said(self) -> None:
        await self.desk.cleared()
        await self.ends.all_stored()

    async def _within(self, seconds: float, what: Awaitable[None]) -> bool:
        """Wait for ``what``, no longer than ``seconds`` on our clock; return whether it came."""
        waiting = asyncio.ensure_future(what)
        limit = asyncio.ensure_future(self.clock.sleep(seconds))
        try:
            await asyncio.wait((waiting, limit), return_when=asyncio.FIRST_COMPLETED)
            return waiting.done()
        finally:
            for task in (waiting, limit):
                task.cancel()
            await asyncio.gather(waiting, limit, return_exceptions=True)
