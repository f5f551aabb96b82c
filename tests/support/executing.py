"""A stage for one executor: a broker in memory, a recorder that answers by rule, a sandbox under the test's hand."""

import asyncio
import random
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from actors.executing.settings import ExecutorSettings
from actors.executor import Executor
from scheduler.clock import Clock, SystemClock
from scheduler.ports import AttemptContext, Consumer, Ended, InlineDone, InlineStart, Out, PublishOutcome, StopRequest
from scheduler.transport.memory import MemoryBroker, MemoryTransport
from scheduler.transport.topology import topology
from schemas.commands import AttemptReturned, ClaimAttempt, StartAttempt
from schemas.facts import AttemptFinished, ClaimAnswered, ExecutorHeartbeat, HeartbeatRecorded
from schemas.message import Message
from schemas.registry import dump, parse, split
from schemas.vocabulary import Outcome
from schemas.work import CommandWork, HandlerWork, WorkOrder

POOL = "default"
QUEUE = f"scheduler.executor.{POOL}"
DEADLINE_S = 10.0
LEASE_S = 30.0


def offer(kind: str = "noop", **fields: Any) -> StartAttempt:
    """Return an offer whose order the sandbox of the stage plays as ``kind``: noop, hold or child."""
    work = CommandWork(kind="command", argv=("true",)) if kind == "child" else HandlerWork(kind="handler", name=kind)
    order = WorkOrder(job="job", job_version=1, flow_id=uuid.uuid4(), work=work)
    known: dict[str, Any] = {"attempt": 1, "run_id": uuid.uuid4(), "lease_token": uuid.uuid4(), **fields}
    return StartAttempt(tenant="default", pool=POOL, order=order, **known)


class PlayedSandbox:
    """A sandbox whose jobs end when the test says so: ``noop`` at once, the others by ``finish``."""

    handlers: tuple[str, ...] = ("hold", "noop")

    def __init__(self) -> None:
        self.started: list[uuid.UUID] = []
        self.stops: dict[uuid.UUID, StopRequest] = {}
        self.closed = False
        self._held: dict[uuid.UUID, Callable[[Ended], None]] = {}

    async def start(self) -> None:
        pass

    def is_inline(self, order: WorkOrder) -> bool:
        return isinstance(order.work, HandlerWork)

    def start_inline(self, starts: Sequence[InlineStart], on_done: InlineDone) -> None:
        done: list[tuple[InlineStart, Ended]] = []
        for start in starts:
            self._note(start.context, start.stop)
            if start.order.work == HandlerWork(kind="handler", name="noop"):
                done.append((start, Ended(Outcome.SUCCEEDED)))
            else:
                self._hold(start, on_done)
        if done:
            asyncio.get_running_loop().call_soon(on_done, done)

    async def run(self, order: WorkOrder, context: AttemptContext, stop: StopRequest) -> Ended:
        self._note(context, stop)
        ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        self._held[context.run_id] = ended.set_result
        stop.listen(lambda: self.finish(context.run_id, Ended(Outcome.CANCELLED, reason=stop.reason)))
        try:
            return await ended
        finally:
            self._held.pop(context.run_id, None)

    def finish(self, run_id: uuid.UUID, ended: Ended | None = None) -> None:
        """End a held job; one that has ended already is no error."""
        tell = self._held.pop(run_id, None)
        if tell is not None:
            tell(ended or Ended(Outcome.SUCCEEDED))

    async def close(self) -> None:
        for run_id in list(self._held):
            self.finish(run_id, Ended(Outcome.CANCELLED))
        self.closed = True

    def _note(self, context: AttemptContext, stop: StopRequest) -> None:
        self.started.append(context.run_id)
        self.stops[context.run_id] = stop

    def _hold(self, start: InlineStart, on_done: InlineDone) -> None:
        run_id = start.context.run_id
        self._held[run_id] = lambda ended: on_done([(start, ended)])
        start.stop.listen(lambda: self.finish(run_id, Ended(Outcome.CANCELLED, reason=start.stop.reason)))


class PlayedRecorder:
    """Keeps what an executor says; answers claims by ``rule`` and, if ``naming``, names the ends."""

    def __init__(self, transport: MemoryTransport) -> None:
        self.transport = transport
        self.rule: Callable[[ClaimAttempt], bool | None] = lambda _: True
        """True grants, False denies, None says nothing."""
        self.naming = True
        self.lease_s = LEASE_S
        self.hold: str | None = None
        """Why the executor is to take nothing new, told with each heartbeat's answer."""
        self.claims: list[ClaimAttempt] = []
        self.returned: list[AttemptReturned] = []
        self.finished: list[AttemptFinished] = []
        self.heartbeats: list[ExecutorHeartbeat] = []
        self.bodies: list[bytes] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._consumers: list[Consumer] = []

    async def start(self) -> None:
        self._publisher = await self.transport.publisher("recorder")
        for queue in ("claims", "heartbeats", "finished"):
            consumer = await self.transport.consumer(f"scheduler.recorder.{queue}", credit=1000, name="recorder")
            self._consumers.append(consumer)
            self._tasks.append(asyncio.create_task(self._hear(consumer)))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for consumer in self._consumers:
            await consumer.close()
        self._consumers.clear()

    def answer(self, claim: ClaimAttempt, *, granted: bool) -> None:
        self.tell(
            claim.executor,
            ClaimAnswered(
                tenant=claim.tenant,
                run_id=claim.run_id,
                attempt=claim.attempt,
                claim_id=claim.claim_id,
                granted=granted,
                lease_s=self.lease_s,
            ),
        )

    def tell(self, executor: str, *messages: Message) -> None:
        """Say ``messages`` on the control queue of ``executor``."""
        for at in range(0, len(messages), 200):
            self._publisher.publish(Out("scheduler.control", executor, dump(messages[at : at + 200])))

    async def _hear(self, consumer: Any) -> None:
        while batch := await consumer.take(100):
            messages = [parse(element) for delivery in batch for element in split(delivery.body)]
            self.bodies += [delivery.body for delivery in batch]
            answers: dict[str, list[Message]] = {}
            for message in messages:
                for executor, answer in self._heard(message):
                    answers.setdefault(executor, []).append(answer)
            for executor, said in answers.items():
                self.tell(executor, *said)
            await consumer.ack(batch)

    def _heard(self, message: Message) -> list[tuple[str, Message]]:
        if isinstance(message, ClaimAttempt):
            self.claims.append(message)
            granted = self.rule(message)
            if granted is not None:
                self.answer(message, granted=granted)
        elif isinstance(message, AttemptReturned):
            self.returned.append(message)
        elif isinstance(message, ExecutorHeartbeat):
            self.heartbeats.append(message)
            known = {"tenant": message.tenant, "boot_id": message.boot_id}
            return [(message.executor, HeartbeatRecorded(**known, seq=message.seq, hold=self.hold))]
        elif isinstance(message, AttemptFinished):
            self.finished.append(message)
            if self.naming:
                known = {"tenant": message.tenant, "boot_id": message.boot_id}
                return [(message.executor, HeartbeatRecorded(**known, ends=(message.end_seq,)))]
        return []


@dataclass
class Stage:
    """One executor with all it needs; ``clock`` is the executor's, the broker's is the machine's."""

    folder: Path
    clock: Clock = field(default_factory=SystemClock)
    slots: int = 2
    drain_timeout_s: float = 5.0
    cpu: float = 2.0
    memory_bytes: int = 1024**3
    disk_bytes: int = 1024**3
    io: float | None = None

    async def __aenter__(self) -> Self:
        self.broker = MemoryBroker()
        self.broker.declare(topology({POOL: 1000}))
        self.transport = await self.new_transport()
        self.aside = await self.new_transport()
        self.recorder = PlayedRecorder(self.aside)
        await self.recorder.start()
        self._publisher = await self.aside.publisher("test")
        self.sandbox: Any = PlayedSandbox()
        self.executor = self.new_executor()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.executor.stop()
        await self.recorder.close()
        await self.transport.close()
        await self.aside.close()

    async def new_transport(self) -> MemoryTransport:
        transport = MemoryTransport(self.broker, SystemClock(), random.Random(1))
        await transport.start()
        return transport

    def new_executor(self, name: str = "one") -> Executor:
        settings = ExecutorSettings(
            name, POOL, self.folder, slots=self.slots, lease_s=LEASE_S, drain_timeout_s=self.drain_timeout_s,
            cpu=self.cpu, memory_bytes=self.memory_bytes, disk_bytes=self.disk_bytes, io=self.io,
        )  # fmt: skip
        return Executor(settings, self.transport, self.sandbox, self.clock, random.Random(1))

    async def publish(self, *starts: StartAttempt) -> None:
        """Publish one delivery that holds ``starts``."""
        await self.publish_body(dump(starts))

    async def publish_body(self, body: bytes) -> None:
        outcome = await self._publisher.publish(Out("scheduler.offers", POOL, body))
        assert outcome is PublishOutcome.STORED

    def in_queue(self, queue: str = QUEUE) -> int:
        """Return the ready and the unsettled messages of a queue."""
        return len(self.broker.queues[queue].ready) + sum(
            len(receiver._unsettled)  # type: ignore[attr-defined]
            for receiver in self.broker.queues[queue].receivers
        )

    def grant_once(self) -> None:
        """Let the recorder grant each attempt to its first claim only, as the database does."""
        owners: dict[uuid.UUID, uuid.UUID] = {}
        self.recorder.rule = lambda claim: owners.setdefault(claim.run_id, claim.claim_id) == claim.claim_id

    def starts(self) -> Counter[uuid.UUID]:
        """Return how often each run was started."""
        return Counter(self.sandbox.started)


async def until(true: Callable[[], object]) -> None:
    """Let the loop turn until ``true()``; fails after ten seconds."""
    deadline = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < deadline, "it did not come true"
        await asyncio.sleep(0.001)


def noon() -> datetime:
    return datetime(2030, 1, 1, 12, tzinfo=UTC)
