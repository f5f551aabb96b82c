"""What running attempts say of themselves: kept for a while for who looks, and who looks."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from scheduler.store.doorbell import FOLLOW
from scheduler.store.queries import queries
from scheduler.store.stores import Store
from schemas.commands import FollowAttempt
from schemas.facts import AttemptFinished, AttemptTold

Q: Final = queries("telling")
_RING: Final = queries("triggers")["ring"]
_ON: Final = "-"
FED_EVERY_S: Final = 5.0
"""The feed is told of the progress of a run no more often."""
_LARGEST: Final = 2**31 - 1


async def keep_told(store: Store, facts: Sequence[AttemptTold]) -> None:
    """Keep what is said of attempts that run: the newest progress of each, for the feed too, and pieces of output."""
    newest = {fact.run_id: fact for fact in sorted(facts, key=lambda fact: fact.seq) if fact.progress is not None}
    pieces = [(fact, fact.output) for fact in facts if fact.output is not None]
    async with store.transaction(flush=False) as db:
        if newest:
            told = [(newest[run_id], newest[run_id].progress) for run_id in sorted(newest)]
            await db.execute(
                Q["keep_progress"],
                [fact.run_id for fact, _ in told],
                [fact.attempt for fact, _ in told],
                [fact.lease_token for fact, _ in told],
                [fact.seq for fact, _ in told],
                [progress and progress.done for _, progress in told],
                [progress and progress.total for _, progress in told],
                [progress and progress.message for _, progress in told],
                FED_EVERY_S,
            )
        latest = {(fact.run_id, fact.attempt, piece.at): (fact, piece) for fact, piece in pieces}
        if latest:
            await db.execute(
                Q["keep_output"],
                [fact.run_id for fact, _ in latest.values()],
                [fact.attempt for fact, _ in latest.values()],
                [fact.lease_token for fact, _ in latest.values()],
                [piece.at for _, piece in latest.values()],
                [piece.until for _, piece in latest.values()],
                [piece.text for _, piece in latest.values()],
            )


async def keep_last_progress(store: Store, facts: Sequence[AttemptFinished]) -> None:
    """Keep with attempts that ended how far they said that they were."""
    async with store.connection() as db:
        await db.execute(
            Q["keep_last_progress"],
            [fact.run_id for fact in facts],
            [fact.attempt for fact in facts],
            [fact.claim_id for fact in facts],
            [fact.progress and fact.progress.model_dump_json() for fact in facts],
        )


async def forget_told(store: Store) -> None:
    """Drop what nobody can be looking at any more."""
    async with store.connection() as db:
        await db.execute(Q["forget_output"])
        await db.execute(Q["forget_progress"])


async def ask_to_follow(store: Store, tenant: str, run_id: UUID, attempt: int, from_byte: int | None) -> None:
    """Say that somebody looks at an attempt: for ten seconds its executor tells what it writes."""
    begin = _ON if from_byte is None else str(from_byte)
    async with store.connection() as db:
        await db.execute(_RING, FOLLOW, f"{tenant} {run_id} {attempt} {begin}")


async def find_followed(store: Store, payloads: Sequence[str]) -> dict[str, list[FollowAttempt]]:
    """Return by executor what to ask of it for ``payloads`` of the doorbell; what cannot be read is left out."""
    wishes = [wish for payload in payloads if (wish := _wish(payload)) is not None]
    async with store.connection() as db:
        columns = [[wish[column] for wish in wishes] for column in range(4)]
        rows = await db.fetch(Q["find_followed"], *columns)
    found: dict[str, list[FollowAttempt]] = {}
    for row in rows:
        command = FollowAttempt(
            tenant=row["tenant"],
            run_id=row["id"],
            attempt=row["attempt"],
            lease_token=row["lease_token"],
            from_byte=row["from_byte"],
        )
        found.setdefault(row["executor"], []).append(command)
    return found


def _wish(payload: str) -> tuple[str, UUID, int, int | None] | None:
    try:
        tenant, run_id, attempt, begin = payload.split()
        wish = tenant, UUID(run_id), int(attempt), None if begin == _ON else int(begin)
    except ValueError:
        return None
    return wish if 0 < wish[2] <= _LARGEST and 0 <= (wish[3] or 0) <= _LARGEST << 32 else None
