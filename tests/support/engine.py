"""A stage for Ticker, Dispatcher and Recorder: a real database, a broker, an executor that plays a script."""

import asyncio
import contextlib
import random
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import asyncpg

from actors.dispatcher import Dispatcher, DispatchSettings
from actors.recorder import Recorder, RecordSettings
from actors.ticker import Ticker, TickSettings
from scheduler.clock import Clock, SystemClock
from scheduler.definitions.model import Definitions
from scheduler.ports import Consumer, Delivery, Out, Transport
from scheduler.roles import ACTOR_ROLES
from scheduler.store.definitions import apply
from scheduler.store.pool import connect
from scheduler.store.roles import as_role
from scheduler.store.stores import Stores
from scheduler.transport import amqp_admin
from scheduler.transport.amqp import AmqpTransport
from scheduler.transport.memory import MemoryBroker, MemoryTransport
from scheduler.transport.topology import topology
from schemas.commands import AttemptReturned, CancelAttempt, ClaimAttempt, StartAttempt
from schemas.facts import AttemptFinished, ClaimAnswered, ExecutorHeartbeat, HeartbeatRecorded
from schemas.job_spec import JobSpec
from schemas.message import AttemptKey, Message
from schemas.registry import dump, parse, split
from schemas.vocabulary import Outcome, ReturnReason

DEADLINE_S = 30.0
_ACTORS = ("ticker", "dispatcher", "recorder")
EXECUTOR = "played"


@dataclass
class PlayedExecutor:
    """Claims every offer, and ends each attempt as ``script`` says: job name → outcomes of attempts 1, 2, …

    An outcome of None leaves the attempt running. A job without a script succeeds.
    """

    transport: Transport
    script: dict[str, Sequence[Outcome | None]] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    offers: list[StartAttempt] = field(default_factory=list)
    granted: list[tuple[StartAttempt, uuid.UUID]] = field(default_factory=list)
    denied: list[ClaimAnswered] = field(default_factory=list)
    answers: list[HeartbeatRecorded] = field(default_factory=list)
    cancels: list[CancelAttempt] = field(default_factory=list)
    boot_id: uuid.UUID = field(default_factory=uuid.uuid4)
    claims: dict[uuid.UUID, StartAttempt] = field(default_factory=dict)
    handlers: tuple[str, ...] = ()
    _seq: int = 0

    async def say(self, key: str, message: Message) -> None:
        publisher = await self.transport.publisher(EXECUTOR)
        await publisher.publish(Out("scheduler.attempts", key, dump([message])))
        await publisher.close()

    def heartbeat(self, *keys: AttemptKey) -> ExecutorHeartbeat:
        self._seq += 1
        return ExecutorHeartbeat(
            tenant="default", executor=EXECUTOR, boot_id=self.boot_id, seq=self._seq, pool="default", slots=100,
            busy=0, handlers=self.handlers, host="test", pid=1, program="0", attempts=keys,
        )  # fmt: skip

    async def beat(self, *keys: AttemptKey) -> None:
        await self.say("executor.heartbeat", self.heartbeat(*keys))

    async def claim(self, offer: StartAttempt, claim_id: uuid.UUID | None = None) -> uuid.UUID:
        claim_id = claim_id or uuid.uuid4()
        self.claims[claim_id] = offer
        await self.say("attempt.claim", ClaimAttempt(
            tenant=offer.tenant, run_id=offer.run_id, attempt=offer.attempt, lease_token=offer.lease_token,
            claim_id=claim_id, executor=EXECUTOR, boot_id=self.boot_id))  # fmt: skip
        return claim_id

    def end(self, offer: StartAttempt, claim_id: uuid.UUID, outcome: Outcome) -> AttemptFinished:
        self._seq += 1
        now = datetime.now(UTC)
        return AttemptFinished(
            tenant=offer.tenant, run_id=offer.run_id, attempt=offer.attempt, lease_token=offer.lease_token,
            claim_id=claim_id, executor=EXECUTOR, boot_id=self.boot_id, end_seq=self._seq, outcome=outcome,
            started_at=now, finished_at=now, elapsed_s=0.001, result=self.results.get(offer.order.job),
        )  # fmt: skip

    async def finish(self, offer: StartAttempt, claim_id: uuid.UUID, outcome: Outcome) -> None:
        await self.say("attempt.finished", self.end(offer, claim_id, outcome))

    async def give_back(
        self, offer: StartAttempt, claim_id: uuid.UUID | None, reason: ReturnReason = ReturnReason.LATE_GRANT
    ) -> None:
        await self.say("attempt.returned", AttemptReturned(
            tenant=offer.tenant, run_id=offer.run_id, attempt=offer.attempt, lease_token=offer.lease_token,
            claim_id=claim_id, reason=reason))  # fmt: skip

    async def take_offers(self) -> None:
        consumer = await self.transport.consumer("scheduler.executor.default", credit=1000, name=EXECUTOR)
        while batch := await consumer.take(100):
            for offer in self.read(batch):
                self.offers.append(offer)
                await self.claim(offer)
            await consumer.ack(batch)

    @staticmethod
    def read(batch: Sequence[Delivery]) -> list[StartAttempt]:
        """Return the offers of a batch."""
        offers = [parse(element) for delivery in batch for element in split(delivery.body)]
        return [offer for offer in offers if isinstance(offer, StartAttempt)]

    async def take_answers(self) -> None:
        consumer = await self.transport.consumer(await self.transport.declare_control(EXECUTOR), credit=1000, name="c")
        while batch := await consumer.take(100):
            for delivery in batch:
                for element in split(delivery.body):
                    await self.hear(parse(element))
            await consumer.ack(batch)

    async def hear(self, message: Message) -> None:
        if isinstance(message, HeartbeatRecorded):
            self.answers.append(message)
        elif isinstance(message, CancelAttempt):
            self.cancels.append(message)
        elif isinstance(message, ClaimAnswered) and not message.granted:
            self.denied.append(message)
        elif isinstance(message, ClaimAnswered):
            offer = self.claims[message.claim_id]
            self.granted.append((offer, message.claim_id))
            script = self.script.get(offer.order.job, ())
            outcome = script[offer.attempt - 1] if offer.attempt <= len(script) else Outcome.SUCCEEDED
            if outcome is not None:
                await self.finish(offer, message.claim_id, outcome)


@dataclass
class Engine:
    """The stage; ``db`` is a connection of the test's own. ``broker``, in memory, is unused where there is another."""

    stores: Stores
    broker: MemoryBroker
    clock: Clock
    db: "asyncpg.Connection[asyncpg.Record]"
    executor: PlayedExecutor
    ticker: Ticker
    dispatcher: Dispatcher
    recorder: Recorder

    async def apply(self, **jobs: Mapping[str, Any]) -> None:
        specs = {name.replace("_", "-"): JobSpec.model_validate(fields) for name, fields in jobs.items()}
        await apply(self.stores.main, Definitions("default", None, specs, {}, ()), prune=False, clock=self.clock)

    async def fire(self, job: str, **fields: Any) -> uuid.UUID:
        """Write a firing that asks for ``job`` now, as somebody by hand would; return its id."""
        firing_id = uuid.uuid4()
        await self.db.execute(
            """INSERT INTO firings (id, tenant, kind, job_id, job_version, fires_at, wall_time, zone, params, sweep_at)
               SELECT $1, tenant, 'manual', id, version, now(), 'x', 'UTC', $3, now() FROM jobs WHERE name = $2""",
            firing_id,
            job,
            fields.get("params"),
        )
        await self.db.execute("SELECT pg_notify('scheduler_work', '')")
        return firing_id

    async def until(self, query: str, *args: Any, holds: Callable[[Any], bool] = bool) -> Any:
        """Return the first value of ``query`` once it ``holds``; fails after the deadline with what there was."""
        value: Any = None
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not holds(value := await self.db.fetchval(query, *args)):
                    await self.clock.sleep(0.01)
        except TimeoutError:
            rows = await self.db.fetch("SELECT job_name, state, attempt, reason, sweep_at FROM runs ORDER BY id")
            raise AssertionError(f"{query} stayed {value!r}; runs: {[tuple(row) for row in rows]}") from None
        return value

    async def grant(self, index: int) -> tuple[StartAttempt, uuid.UUID]:
        """Return the offer and the claim of the ``index``-th grant, once the executor has heard of it."""
        await self.heard(lambda: len(self.executor.granted) > index)
        return self.executor.granted[index]

    async def claim_next(self, offers: Consumer) -> tuple[StartAttempt, uuid.UUID]:
        """Claim the next of ``offers``; return it with its claim, once that is granted."""
        async with asyncio.timeout(DEADLINE_S):
            [offer] = self.executor.read(await offers.take(1))
        claim_id = await self.executor.claim(offer)
        await self.heard(lambda: claim_id in {granted for _, granted in self.executor.granted})
        return offer, claim_id

    async def heard(self, holds: Callable[[], bool]) -> None:
        """Wait until ``holds`` of what the executor has heard."""
        await self.until("SELECT 1", holds=lambda _: holds())

    async def settled(self, count: int) -> dict[str, list[str]]:
        """Wait until ``count`` runs have ended and owe nothing; return the end states by job, oldest first."""
        done = "SELECT count(*) FROM runs WHERE finished_at IS NOT NULL AND sweep_at IS NULL"
        await self.until(done, holds=lambda found: found >= count)
        states: dict[str, list[str]] = {}
        for name, state in await self.db.fetch("SELECT job_name, state FROM runs ORDER BY created_at, id"):
            states.setdefault(name, []).append(state)
        return states


@contextlib.asynccontextmanager
async def engine(
    dsn: str,
    *,
    lease_s: float = 30.0,
    silent_s: float = 30.0,
    resend_s: float = 30.0,
    alive: bool = True,
    amqp_url: str | None = None,
) -> AsyncIterator[Engine]:
    """Open the stage on a migrated database; ``alive=False``: the executor takes nothing until told to.

    ``lease_s`` is how long an attempt may go without a heartbeat. The executor, which beats only when told to, gets
    offers for ``silent_s`` after it did.
    ``amqp_url``: of the broker; None: one in memory. Two stages at one broker: only one hears what executors are told.
    """
    clock, rng, broker = SystemClock(), random.Random(7), MemoryBroker()
    transports = await _links(broker, amqp_url, clock, rng)
    stores = await Stores.open(dsn, name="test", size=2)
    # Each actor as its own role: a right that is missing shows wherever it is needed.
    opened = {actor: await Stores.open(as_role(dsn, ACTOR_ROLES[actor]), name=actor) for actor in _ACTORS}
    db = await connect(dsn, name="test")
    executor = PlayedExecutor(transports[3])
    stage = Engine(
        stores, broker, clock, db, executor,
        Ticker(opened["ticker"], transports[0], clock, rng, TickSettings()),
        Dispatcher(opened["dispatcher"], transports[1], clock, rng, DispatchSettings(0.2, resend_s, silent_s)),
        Recorder(opened["recorder"], transports[2], clock, rng, RecordSettings(lease_s)),
    )  # fmt: skip
    actors = (stage.recorder, stage.dispatcher, stage.ticker)
    for actor in actors:
        await actor.start()
    tasks = []
    if alive or amqp_url is None:
        tasks.append(asyncio.create_task(executor.take_answers()))
    if alive:
        tasks.append(asyncio.create_task(executor.take_offers()))
        await executor.beat()
    try:
        yield stage
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for actor in actors:
            await actor.stop()
        for transport in transports:
            await transport.close()
        await db.close()
        for closing in (stores, *opened.values()):
            await closing.close()


async def _links(broker: MemoryBroker, amqp_url: str | None, clock: Clock, rng: random.Random) -> Sequence[Transport]:
    """Return a link of each actor, and of the executor."""
    shape = topology({"default": 1000})
    links: Sequence[Transport]
    if amqp_url is None:
        broker.declare(shape)
        links = [MemoryTransport(broker, clock, rng) for _ in range(4)]
    else:
        async with amqp_admin.admin(amqp_url) as operator:
            await operator.declare(shape)
        links = [AmqpTransport(amqp_url, actor="test", clock=clock, rng=rng) for _ in range(4)]
    for link in links:
        await link.start()
        await link.wait_up(DEADLINE_S)
    return links
