"""Circuit breakers of http targets: the rows know what failed, Dispatchers hold runs back by them.

A circuit is closed, and counts failures in a row; open, and nothing of its jobs is offered; or due to be
tried: then one run is, and how it ends closes the circuit or opens it again. Offers that are out when it
opens still start. Nothing that waits uses up an attempt.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

from scheduler.store.queries import queries
from schemas.facts import AttemptFinished
from schemas.vocabulary import Outcome
from schemas.work import Circuit

if TYPE_CHECKING:
    import asyncpg

    from scheduler.store.pool import Connection

Q: Final = queries("circuits")
_WITHDRAW: Final = queries("offers")["withdraw_offers"]
_TOO_MANY: Final = 429
_SERVER_ERRORS: Final = 500


@dataclass(frozen=True, slots=True)
class Trial:
    """An open circuit whose time has come: one run of ``jobs`` may try. ``before`` tried last."""

    tenant: str
    target: str
    jobs: frozenset[UUID]
    before: UUID | None


@dataclass(frozen=True, slots=True)
class Standing:
    """What circuits hold back at a moment."""

    held: frozenset[UUID] = frozenset()
    trials: Sequence[Trial] = ()

    @property
    def jobs(self) -> frozenset[UUID]:
        """Every job some circuit of which is open."""
        return self.held.union(*(trial.jobs for trial in self.trials))


def answered(fact: AttemptFinished) -> bool | None:
    """Tell whether the target of an http attempt gave a proper answer; None: the end says nothing of it."""
    if fact.outcome is Outcome.SUCCEEDED:
        return True
    if fact.outcome is Outcome.TIMED_OUT:
        return False
    if fact.outcome is not Outcome.FAILED:
        return None
    status = fact.http_status
    if status is None and fact.exception is None:
        return None  # nothing was sent: a secret that is missing, a url that cannot be
    return status is not None and status < _SERVER_ERRORS and status != _TOO_MANY


async def note_ends(db: "Connection", facts: Sequence[AttemptFinished]) -> None:
    """Count ends for the circuits of their targets, in their order: failures in the transaction that settles them."""
    targets: dict[tuple[str, str], list[AttemptFinished]] = {}
    for fact in facts:
        if fact.circuit is not None and answered(fact) is not None:
            targets.setdefault((fact.tenant, fact.circuit.target), []).append(fact)
    for (tenant, target), ends in sorted(targets.items()):
        if any(answered(end) for end in ends):
            await db.execute(Q["note_answer"], tenant, target)
        last = max((at for at, end in enumerate(ends) if answered(end)), default=-1)
        if failed := ends[last + 1 :]:
            circuit = failed[-1].circuit
            if circuit is not None:
                await _note_failures(db, tenant, circuit, failed)


async def _note_failures(db: "Connection", tenant: str, circuit: Circuit, failed: Sequence[AttemptFinished]) -> None:
    runs = [fact.run_id for fact in failed]
    await db.execute(
        Q["note_failures"], tenant, circuit.target, len(failed), circuit.failures, circuit.open_s, runs
    )  # fmt: skip


async def look(db: "Connection", jobs: Mapping[tuple[str, str], Sequence[UUID]]) -> Standing:
    """Return what is held back now of ``jobs``, by tenant and target."""
    held: set[UUID] = set()
    trials: list[Trial] = []
    for row in await db.fetch(Q["list_open"], None, None):
        ids = frozenset(jobs.get((row["tenant"], row["target"]), ()))
        if row["holds"]:
            held |= ids
        elif ids:
            trials.append(Trial(row["tenant"], row["target"], ids, row["probe_run"]))
    return Standing(frozenset(held), trials)


async def let_one_try(
    db: "Connection", rows: Sequence["asyncpg.Record"], trials: Sequence[Trial]
) -> list["asyncpg.Record"]:
    """Return the runs among ``rows``, just offered, that stay so: of each circuit one; the others go back."""
    kept = list(rows)
    for trial in trials:
        those = [row for row in kept if row["job_id"] in trial.jobs]
        if not those:
            continue
        taken = await db.fetchval(Q["take_probe"], trial.tenant, trial.target, those[0]["id"], trial.before)
        back = sorted(those[1:] if taken is not None else those, key=lambda row: row["id"])
        await db.execute(_WITHDRAW, [row["id"] for row in back], [row["lease_token"] for row in back])
        gone = {row["id"] for row in back}
        kept = [row for row in kept if row["id"] not in gone]
    return kept


async def get_open(db: "Connection", tenant: str, target: str) -> "asyncpg.Record | None":
    """Return how an open circuit stands; None: it is closed."""
    return await db.fetchrow(Q["list_open"], tenant, target)
