"""Recorder: the only actor that writes claims, leases and the ends of attempts.

Hears   attempt.claim, executor.heartbeat, attempt.finished, attempt.returned, attempt.told
Says    claim.answered, heartbeat.recorded, run.settled, executor.heartbeat (barriers)
Writes  runs, attempts, executors, recorders, live_progress, live_output
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final, TypeVar

import structlog

from actors.base import Actor, BatchHandler
from scheduler.clock import Clock
from scheduler.counts import COUNTS
from scheduler.crash import crash_point
from scheduler.domain.plain_end import plain_end
from scheduler.errors import TransientError
from scheduler.ids import uuid7
from scheduler.ports import Consumer, Delivery, Transport
from scheduler.store.catalogue import Catalogue
from scheduler.store.circuits import note_ends
from scheduler.store.claiming import claim, take_back
from scheduler.store.leasing import find_expired, leave_recorders, record_heartbeats, report_recorder
from scheduler.store.said_ends import say_ends
from scheduler.store.settling import Settling
from scheduler.store.stores import Store, Stores
from scheduler.store.telling import forget_told, keep_last_progress, keep_told
from schemas.commands import AttemptReturned, ClaimAttempt
from schemas.facts import (
    AttemptFinished,
    AttemptTold,
    ClaimAnswered,
    ExecutorHeartbeat,
    HeartbeatRecorded,
    RunSettled,
)
from schemas.message import Message
from schemas.vocabulary import ReturnReason

log: structlog.stdlib.BoundLogger = structlog.get_logger()

T = TypeVar("T")
K = TypeVar("K")

_EXPIRED_AT_ONCE: Final = 500
_BARRIERS_PER_LEASE: Final = 6
_LONGEST_BARRIER_PAUSE_S: Final = 2.0
_FORGET_EVERY_S: Final = 15.0
_BARRIERS_SENT: Final = 2
"""The broker deals messages out in turn: with one barrier, the other of two Recorders might never see any."""


_SHORT: Final = frozenset({ReturnReason.NO_ROOM, ReturnReason.NO_HANDLER})
"""There is not enough of something."""


@dataclass(frozen=True, slots=True)
class RecordSettings:
    lease_s: float = 30.0
    """An attempt counts as lost when no heartbeat was recorded for this long."""


class Recorder(Actor):
    """Decides claims, keeps leases, settles attempts. Any number may run: the rows decide."""

    queues = (
        "scheduler.recorder.claims",
        "scheduler.recorder.heartbeats",
        "scheduler.recorder.finished",
        "scheduler.recorder.told",
    )

    def __init__(
        self, stores: Stores, transport: Transport, clock: Clock, rng: random.Random, settings: RecordSettings
    ) -> None:
        super().__init__("recorder", transport, clock, rng)
        self._stores = stores
        self._lease_s = settings.lease_s
        self._id = uuid7(clock)
        self._read_through: datetime | None = None
        self._gave_back_at: float | None = None
        self._settling = {store.name: Settling(Catalogue(), rng) for store in stores.all()}

    async def start(self) -> None:
        await super().start()
        for store in self._stores.all():
            self.keep(f"leases {store.name}", partial(self._watch_leases, store))
            self.keep(f"told {store.name}", partial(self._forget_told, store))

    async def stop(self) -> None:
        started = self._publisher is not None
        await super().stop()
        if started:
            for store in self._stores.all():
                await leave_recorders(store, self._id)

    def handlers(self) -> Mapping[type[Message], BatchHandler]:
        return {
            ClaimAttempt: self.on_claims,
            ExecutorHeartbeat: self.on_heartbeats,
            AttemptFinished: self.on_finished,
            AttemptReturned: self.on_returned,
            AttemptTold: self.on_told,
        }

    async def _retry(self, consumer: Consumer, batch: Sequence[Delivery], error: TransientError) -> None:
        """Give a batch back, and hold all leases for the time of one.

        Barriers already in hand overtake heartbeats that go back; and nobody beats for an attempt that has ended,
        was handed back, or waits for the answer to its claim: what says so must be recorded before its lease ends.
        """
        self._gave_back_at = self.clock.monotonic()
        await super()._retry(consumer, batch, error)

    async def on_claims(self, claims: Sequence[ClaimAttempt]) -> None:
        """Grant each attempt to the first claim that fits; answer all."""
        for store, batch in self._stores.sort(claims):
            crash_point("recorder.before_claims")
            granted = await claim(store, batch, self._lease_s)
            crash_point("recorder.after_claims")
            for executor, asked in _group(batch, lambda message: message.executor):
                self.post("scheduler.control", executor, [
                    ClaimAnswered(tenant=c.tenant, run_id=c.run_id, attempt=c.attempt, claim_id=c.claim_id,
                                  granted=c.claim_id in granted, lease_s=self._lease_s) for c in asked
                ], persistent=False)  # fmt: skip

    async def on_heartbeats(self, beats: Sequence[ExecutorHeartbeat]) -> None:
        """Extend leases; tell executors what to stop and which attempts are theirs no more."""
        for store, batch in self._stores.sort(beat for beat in beats if beat.barrier_at is None):
            answers = await record_heartbeats(store, batch, self._lease_s)
            for beat, held in zip(batch, answers, strict=True):
                if beat.store != store.suffix:
                    continue  # it told that the executor lives; the store it is for answers
                answer = HeartbeatRecorded(
                    tenant=beat.tenant,
                    boot_id=beat.boot_id,
                    # Whether it takes anything, and whether it is heard, is a matter of the main store.
                    seq=None if store.suffix else beat.seq,
                    hold=None if store.suffix else held.hold,
                    cancels=held.cancels,
                    kills=held.kills,
                    lost=held.lost,
                )
                self.post("scheduler.control", beat.executor, [answer], persistent=False)
        own = self._stores.main.suffix
        barriers = [beat.barrier_at for beat in beats if beat.barrier_at is not None and beat.store == own]
        if barriers:
            self._read_through = max(*barriers, self._read_through or barriers[0])

    async def on_finished(self, facts: Sequence[AttemptFinished]) -> None:
        """Settle each attempt once; second and fenced-off reports change nothing but are confirmed too.

        An end whose particulars the database refuses is settled without them.
        """
        for store, batch in self._stores.sort(facts):
            try:
                await self._settle_ends(store, batch)
            except TransientError:
                raise
            except Exception as error:
                if len(batch) > 1:
                    raise  # the batch is halved, down to the one that is refused
                log.exception("end.refused", run_id=str(batch[0].run_id), attempt=batch[0].attempt)
                await self._settle_ends(store, [plain_end(batch[0], f"{type(error).__name__}: {error}")])
            for (executor, boot_id), ends in _group(batch, lambda fact: (fact.executor, fact.boot_id)):
                answer = HeartbeatRecorded(tenant=ends[0].tenant, boot_id=boot_id, ends=tuple(e.end_seq for e in ends))
                self.post("scheduler.control", executor, [answer], persistent=False)

    async def _settle_ends(self, store: Store, batch: Sequence[AttemptFinished]) -> None:
        settling = self._settling[store.name]
        COUNTS.end((fact.outcome, fact.elapsed_s) for fact in batch)
        crash_point("recorder.before_commit")
        async with store.connection() as db:
            settled, left = await settling.settle_succeeded(db, batch)
        crash_point("recorder.after_commit")
        self._tell(settled)
        ended = {fact.run_id for fact in settled}
        if left:
            async with store.transaction() as db:
                settlements = await settling.settle(db, left)
                ended.update(settlement.run["id"] for settlement in settlements)
                # With the failure itself: when a run that tried is over, nobody is to find its circuit untouched.
                await note_ends(db, [fact for fact in batch if fact.run_id in ended])
                crash_point("recorder.before_commit")
            crash_point("recorder.after_commit")
            self._tell([settlement.told() for settlement in settlements])
            say_ends(settlements)
        elif any(fact.circuit is not None for fact in batch):
            async with store.transaction() as db:
                await note_ends(db, [fact for fact in batch if fact.run_id in ended])
        if far := [fact for fact in batch if fact.progress is not None]:
            await keep_last_progress(store, far)

    async def on_returned(self, returned: Sequence[AttemptReturned]) -> None:
        """Put what was handed back unstarted into the backlog again."""
        for store, batch in self._stores.sort(returned):
            moved = await take_back(store, batch)
            reasons = {str(reason): n for reason, n in Counter(back.reason for back in batch).items()}
            short = any(back.reason in _SHORT for back in batch)
            (log.warning if short else log.info)("attempts.returned", asked=len(batch), moved=moved, **reasons)

    async def on_told(self, facts: Sequence[AttemptTold]) -> None:
        """Keep what running attempts say of themselves, for who looks."""
        for store, batch in self._stores.sort(facts):
            await keep_told(store, batch)

    async def _forget_told(self, store: Store) -> None:
        while not self.draining:
            await forget_told(store)
            self.well(f"told {store.name}")
            await self.clock.sleep(_FORGET_EVERY_S)

    def _tell(self, settled: Sequence[RunSettled]) -> None:
        if settled:
            self.post("scheduler.settled", "run.settled", settled, persistent=False)

    async def _watch_leases(self, store: Store) -> None:
        pause_s = min(self._lease_s / _BARRIERS_PER_LEASE, _LONGEST_BARRIER_PAUSE_S)
        while not self.draining:
            if not self._steady():
                self._read_through = None
            now = await report_recorder(store, self._id, self._read_through)
            await self._expire(store)
            self.well(f"leases {store.name}")
            self._send_barriers(now)
            await self.clock.sleep(pause_s)

    def _steady(self) -> bool:
        """Whether for a whole lease the link was up and nothing given back: every executor was heard since."""
        since = self.transport.up_since
        if since is None:
            return False
        return self.clock.monotonic() - max(since, self._gave_back_at or since) >= self._lease_s

    def _send_barriers(self, now: datetime) -> None:
        if not self._steady():
            return
        barrier = ExecutorHeartbeat(
            tenant="default", executor=f"recorder-{self._id}", boot_id=self._id, seq=0, pool="", slots=0, busy=0,
            host="", pid=0, program="", barrier_at=now,
            store=self._stores.main.suffix,
        )  # fmt: skip
        for _ in range(_BARRIERS_SENT):
            self.post("scheduler.attempts", "executor.heartbeat", [barrier], persistent=False)

    async def _expire(self, store: Store) -> None:
        expired = await find_expired(store, _EXPIRED_AT_ONCE, self._lease_s * 2)
        if not expired:
            return
        async with store.transaction() as db:
            settlements = await self._settling[store.name].expire(db, expired)
            crash_point("recorder.before_expiry_commit")
        crash_point("recorder.after_expiry_commit")
        if settlements:
            COUNTS.leases_lost += len(settlements)
            log.warning("leases.expired", count=len(settlements), runs=[str(one.run["id"]) for one in settlements[:20]])
            self._tell([settlement.told() for settlement in settlements])
            say_ends(settlements)


def _group(items: Iterable[T], key: Callable[[T], K]) -> list[tuple[K, list[T]]]:
    groups: dict[K, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return list(groups.items())
