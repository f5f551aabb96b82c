"""Turns: where overlap makes runs of a job wait for one another, who starts next, and who is ended for whom.

A run in the line of its job is ``waiting`` with the turn ``awaits``. Whoever puts one there tends
the line in the same transaction; from then on each end of a run of the job owes a step, which
tends it again. Both hold the job's row, so that no two are released into one place, and no end is
missed: a count made under the lock either sees the end, or comes before its step.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Final
from uuid import UUID

from scheduler.domain.run_state import CANCELLED_AT_ONCE
from scheduler.store.doorbell import CANCEL, WORK
from scheduler.store.queries import queries
from scheduler.store.stores import Store
from schemas.vocabulary import OverlapPolicy

if TYPE_CHECKING:
    from scheduler.store.pool import Connection

Q: Final = queries("turns")
FLOWS: Final = queries("flows")
_CONTROL: Final = queries("control")
_RING: Final = queries("triggers")["ring"]

_NO_LIMIT: Final = 1_000_000
_ENDED_AT_ONCE: Final = [state.value for state in CANCELLED_AT_ONCE]


async def tend_lines(db: "Connection", job_ids: Iterable[UUID]) -> set[str]:
    """Release what may start in the lines of these jobs; return the pools that got work.

    Locks the jobs; the caller may hold rows of other jobs' runs only if it holds those jobs too.
    The newest definition counts: without a limit the whole line starts.
    """
    ids = sorted(job_ids)
    await db.execute(FLOWS["lock_jobs"], ids)
    await db.execute(Q["mark_active"], ids)
    active = {row["job_id"]: row["active"] for row in await db.fetch(FLOWS["count_active"], ids)}
    room: dict[UUID, int] = {}
    for job_id, overlap, most in await db.fetch(Q["get_rules"], ids):
        count = active.get(job_id, 0)
        if overlap in {OverlapPolicy.CANCEL_PREVIOUS, OverlapPolicy.KILL_PREVIOUS}:
            count -= await _make_room(db, job_id, OverlapPolicy(overlap), most)
        room[job_id] = max(0, (_NO_LIMIT if most is None else most) - count)
    released = await db.fetch(Q["release"], list(room), list(room.values()))
    return {row["pool"] for row in released}


async def pass_on(store: Store, job_ids: Collection[UUID], ended: Sequence[UUID]) -> set[str]:
    """Tend the lines of ``job_ids``, with which the steps of the runs in ``ended`` are done."""
    async with store.transaction(flush=False) as db:
        pools = await tend_lines(db, job_ids) if job_ids else set()
        await db.execute(Q["end_step"], ended)
    return pools


async def enter_lines(store: Store, runs: Iterable[tuple[UUID, UUID]]) -> None:
    """Tend the lines that ``runs`` (id, job) have just come into by their needs, and ring for what is released."""
    entered = list(runs)
    job_ids = {job_id for _, job_id in entered}
    async with store.transaction(flush=False) as db:
        pools = await tend_lines(db, job_ids)
        rules = await db.fetch(Q["get_rules"], list(job_ids))
        await db.execute(
            Q["stay"],
            [run_id for run_id, _ in entered],
            [row["id"] for row in rules],
            [row["overlap"] for row in rules],
        )
        if pools:
            await db.execute(_RING, WORK, "")


async def list_lines(store: Store) -> Sequence[UUID]:
    """Return the jobs of which some run waits for its turn."""
    async with store.connection() as db:
        return [row["job_id"] for row in await db.fetch(Q["list_lines"])]


async def find_last(db: "Connection", job_ids: Iterable[UUID]) -> dict[UUID, UUID]:
    """Return, by job, the last run in its line."""
    return {row["job_id"]: row["run_id"] for row in await db.fetch(Q["find_last"], list(job_ids))}


async def _make_room(db: "Connection", job_id: UUID, policy: OverlapPolicy, most: int) -> int:
    """End for the newest run in line what is in its way; return how many active runs are over at once.

    Older ones in the line are cancelled, and so many of the oldest active ones that one more may
    start. One that an executor holds is asked to stop, or to be killed; its end gives the turn on.
    """
    newest = (await find_last(db, [job_id])).get(job_id)
    if newest is None:
        return 0
    reason = f"run {newest} takes its place (overlap {policy})"
    gone = {row["id"]: row["tenant"] for row in await db.fetch(Q["replace_waiting"], job_id, newest, reason)}
    active = await db.fetch(Q["lock_active"], job_id)
    over = 0
    for run in sorted(active, key=lambda run: not run["cancelled"])[: max(0, len(active) - most + 1)]:
        if await db.fetchval(_CONTROL["cancel_runs"], [run["id"]], reason, _ENDED_AT_ONCE):
            over += 1
            gone[run["id"]] = run["tenant"]
        elif await db.fetchval(_CONTROL["wish_cancels"], [run["id"]], reason, policy is OverlapPolicy.KILL_PREVIOUS):
            gone[run["id"]] = run["tenant"]
    if gone:
        await db.execute(Q["wait_for_disk"])
    for run_id, tenant in gone.items():
        await db.execute(_RING, CANCEL, f"{tenant} {run_id}")
    return over
