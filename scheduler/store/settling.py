"""Settles attempts: their ends as executors report them, and the leases that ran out.

Every write is fenced by attempt number and lease token. What is said of an attempt after it was
given up is kept beside it and changes nothing.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from scheduler.domain.retry import Decision, EndFacts, judge
from scheduler.domain.run_state import Move, after
from scheduler.store.catalogue import Catalogue
from scheduler.store.pausing import lock_pausing, pause_failing
from scheduler.store.pool import json_text
from scheduler.store.queries import columns, queries
from schemas.facts import AttemptFinished, RunSettled
from schemas.job_spec import RetrySpec
from schemas.vocabulary import OnLost, Outcome, RunState

if TYPE_CHECKING:
    import asyncpg

    from scheduler.store.pool import Connection

Q: Final = queries("attempts")
LEASES: Final = queries("leases")

_LOST: Final = EndFacts(Outcome.LOST)
_UNSEEN: Final = (None,) * 6
"""In the place of what was measured."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """One attempt that ended now: its run, the move, and what the executor said (None: it vanished)."""

    run: "asyncpg.Record"
    decision: Decision
    fact: AttemptFinished | None

    @property
    def state(self) -> RunState:
        state = after(RunState(self.run["state"]), self.decision.move)
        if state is None:
            raise AssertionError(f"{self.decision.move} from {self.run['state']} is not in the table")
        return state

    def told(self) -> RunSettled:
        """Return what the Dispatcher is told of it."""
        return RunSettled(
            tenant=self.run["tenant"],
            run_id=self.run["id"],
            state=self.state,
            pool=self.run["pool"],
            elapsed_s=self.fact.elapsed_s if self.fact else None,
            has_downstream=self.run["has_downstream"],
        )


class Settling:
    """Judges ends and writes them, a batch in one transaction."""

    def __init__(self, catalogue: Catalogue, rng: random.Random) -> None:
        self._catalogue = catalogue
        self._rng = rng

    async def settle_succeeded(
        self, db: "Connection", facts: Sequence[AttemptFinished]
    ) -> tuple[list[RunSettled], list[AttemptFinished]]:
        """Write the successes among ``facts`` in one statement; return what moved, and the facts left to ``settle``."""
        # In the order of ids, as every statement locks runs: two batches cannot wait for each other.
        ordered = sorted(facts, key=lambda fact: fact.run_id)
        successes = {fact.run_id: fact for fact in ordered if fact.outcome is Outcome.SUCCEEDED}
        if not successes:
            return [], list(facts)
        rows = await db.fetch(Q["settle_succeeded"], *columns([_success_row(fact) for fact in successes.values()]))
        settled = [
            RunSettled(
                tenant=row["tenant"],
                run_id=row["id"],
                state=RunState.SUCCEEDED,
                pool=row["pool"],
                elapsed_s=successes[row["id"]].elapsed_s,
                has_downstream=row["has_downstream"],
            )
            for row in rows
        ]
        moved = {fact.run_id for fact in settled}
        return settled, [fact for fact in facts if fact.run_id not in moved or fact is not successes[fact.run_id]]

    async def settle(self, db: "Connection", facts: Sequence[AttemptFinished]) -> Sequence[Settlement]:
        """Write the ends of a batch; late and repeated ones settle nothing. Returns what moved."""
        pausing = await lock_pausing(db, [fact.run_id for fact in facts if not _succeeded(fact)])
        latest = {(fact.run_id, fact.attempt, fact.lease_token): fact for fact in facts}
        runs = {row["id"]: row for row in await db.fetch(Q["lock_runs"], list({fact.run_id for fact in facts}))}
        held: list[tuple[asyncpg.Record, AttemptFinished]] = []
        late: list[AttemptFinished] = []
        orphans: list[AttemptFinished] = []
        for fact in latest.values():
            run = runs.get(fact.run_id)
            if run is None:
                orphans.append(fact)
            elif run["state"] == "running" and (run["attempt"], run["lease_token"], run["owner"]) == (
                fact.attempt, fact.lease_token, fact.claim_id):  # fmt: skip
                held.append((run, fact))
            else:
                late.append(fact)
        settled = await self._write(db, await self._judge(db, held), pausing)
        await _keep(db, late, orphans)
        return settled

    async def expire(self, db: "Connection", run_ids: Sequence[UUID]) -> Sequence[Settlement]:
        """Give up attempts whose lease ran out; returns what moved."""
        pausing = await lock_pausing(db, run_ids)
        rows = await db.fetch(LEASES["lock_expired"], run_ids)
        return await self._write(db, await self._judge(db, [(row, None) for row in rows]), pausing)

    async def _judge(
        self, db: "Connection", held: Sequence[tuple["asyncpg.Record", AttemptFinished | None]]
    ) -> list[Settlement]:
        failed = {(run["job_id"], run["job_version"]) for run, fact in held if not _succeeded(fact)}
        specs = await self._catalogue.versions(db, failed) if failed else {}
        settlements = []
        for run, fact in held:
            if _succeeded(fact):
                decision = Decision(Move.FINISH, None, "")
            elif run["cancelled"]:
                decision = Decision(Move.CANCEL, None, run["cancel_reason"] or "cancelled")
            else:
                spec = specs.get((run["job_id"], run["job_version"]))  # None: stored by a newer program
                decision = judge(
                    _LOST if fact is None else _facts(fact),
                    attempt=run["attempt"] - run["snoozes"],
                    losses=run["losses"] + _lost(fact),  # the one being judged counts
                    spec=RetrySpec() if spec is None else spec.retry,
                    on_lost=OnLost.RERUN if spec is None else spec.on_lost,
                    rng=self._rng,
                )
            settlements.append(Settlement(run, decision, fact))
        return settlements

    async def _write(
        self, db: "Connection", settlements: Sequence[Settlement], pausing: Sequence[UUID]
    ) -> Sequence[Settlement]:
        if not settlements:
            return ()
        rows = [_attempt_row(settlement) + _run_row(settlement) for settlement in settlements]
        await db.execute(Q["settle_attempts"], *columns(rows))
        if any(settlement.decision.move is Move.RETRY for settlement in settlements):
            await db.execute(Q["ring_wake"])
        failed = {settlement.run["job_id"] for settlement in settlements if settlement.state is RunState.FAILED}
        if failing := failed.intersection(pausing):
            await pause_failing(db, sorted(failing))
        return settlements


def _succeeded(fact: AttemptFinished | None) -> bool:
    return fact is not None and fact.outcome is Outcome.SUCCEEDED


def _lost(fact: AttemptFinished | None) -> bool:
    return fact is None or fact.outcome is Outcome.LOST


def _facts(fact: AttemptFinished) -> EndFacts:
    return EndFacts(
        fact.outcome,
        fact.exit_code,
        fact.http_status,
        fact.exception,
        fact.exception_bases or (),
        fact.retry_after_s,
        fact.reason,
    )


def _success_row(fact: AttemptFinished) -> tuple[Any, ...]:
    output = fact.output
    return (
        fact.run_id,
        fact.attempt,
        fact.lease_token,
        fact.claim_id,
        fact.executor,
        fact.reason,
        fact.exit_code,
        fact.http_status,
        output.head if output else None,
        output.tail if output else None,
        output.total_bytes if output else 0,
        fact.started_at,
        fact.finished_at,
        fact.elapsed_s,
        json_text(fact.result),
        *_measured(fact),
    )


def _run_row(settlement: Settlement) -> tuple[Any, ...]:
    fact, decision = settlement.fact, settlement.decision
    outcome = Outcome.LOST if fact is None else fact.outcome
    return (
        settlement.state,
        decision.reason or (fact.reason if fact else None),
        json_text(fact.result if fact and fact.outcome is Outcome.SUCCEEDED else None),
        int(outcome is Outcome.LOST),
        int(outcome is Outcome.SNOOZED),
        (decision.delay or timedelta(0)).total_seconds(),
    )


def _attempt_row(settlement: Settlement) -> tuple[Any, ...]:
    run, fact = settlement.run, settlement.fact
    head = (run["id"], run["attempt"], run["tenant"], run["owner"], run["executor"])
    if fact is None:
        reason = "the executor was not heard of until the lease ended"
        return (
            *head,
            Outcome.LOST,
            reason,
            None,
            None,
            None,
            None,
            None,
            None,
            0,
            run["claimed_at"],
            None,
            None,
            *_UNSEEN,
        )
    output = fact.output
    return (
        *head,
        fact.outcome,
        fact.reason,
        fact.exit_code,
        fact.signal,
        fact.http_status,
        fact.exception,
        output.head if output else None,
        output.tail if output else None,
        output.total_bytes if output else 0,
        fact.started_at,
        fact.finished_at,
        fact.elapsed_s,
        *_measured(fact),
    )


def _measured(fact: AttemptFinished) -> tuple[Any, ...]:
    """Return what it used, and the numbers it gave itself."""
    usage, metrics = fact.usage, json_text(fact.metrics)
    if usage is None:
        return (*_UNSEEN[:-1], metrics)
    return (usage.cpu_s, usage.peak_memory_bytes, usage.read_bytes, usage.written_bytes, usage.limited_by, metrics)


async def _keep(db: "Connection", late: Sequence[AttemptFinished], orphans: Sequence[AttemptFinished]) -> None:
    if late:
        rows = [(fact.run_id, fact.attempt, fact.claim_id, fact.model_dump_json()) for fact in late]
        await db.execute(Q["keep_late_ends"], *columns(rows))
    if orphans:
        lost = [(fact.run_id, fact.attempt, fact.tenant, fact.model_dump_json()) for fact in orphans]
        await db.execute(Q["keep_orphan_ends"], *columns(lost))
