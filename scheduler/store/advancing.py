"""The DAG step: an ended run decides the needs of what is downstream, which is released, skipped or waits on."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

from scheduler.domain.dag import Release, decide
from scheduler.store.doorbell import WAKE
from scheduler.store.queries import columns, queries
from schemas.vocabulary import NeedsRule, RunState

if TYPE_CHECKING:
    import asyncpg

    from scheduler.store.pool import Connection

Q: Final = queries("flows")
_RING: Final = queries("triggers")["ring"]


@dataclass(slots=True)
class Tally:
    """What a batch of ends means for one waiting run."""

    met: int = 0
    unmet: int = 0
    delay: timedelta = timedelta(0)
    obstacle: str | None = None


@dataclass(slots=True)
class Step:
    """What one DAG step did: pools with new work, and runs it skipped, whose own step is owed now.

    ``lines`` are jobs whose next runs may start now: the step of the runs in ``owed`` is done when
    their turn is passed on, and ``backfills`` are looked at.
    """

    pools: set[str] = field(default_factory=set)
    skipped: list[UUID] = field(default_factory=list)
    lines: set[UUID] = field(default_factory=set)
    backfills: set[UUID] = field(default_factory=set)
    owed: list[UUID] = field(default_factory=list)
    ended: "Sequence[asyncpg.Record]" = ()
    """The runs whose step this was, with the revision of their tenant."""


async def advance(db: "Connection", ended: Sequence[UUID]) -> Step:
    """Do the DAG step of those of ``ended`` that still owe it. Twice is once: each need is decided once."""
    owed = await db.fetch(Q["take_owed"], ended)
    step = Step()
    if not owed:
        return step
    step.ended = owed
    step.lines = {row["job_id"] for row in owed if row["turn"] is not None}
    step.backfills = {row["backfill_id"] for row in owed if row["backfill_id"] is not None}
    step.owed = [row["id"] for row in owed if row["turn"] is not None or row["backfill_id"] is not None]
    tallies: dict[UUID, Tally] = {}
    columns = ([row[name] for row in owed] for name in ("id", "state", "job_name"))
    for edge in await db.fetch(Q["decide_edges"], *columns):
        tally = tallies.setdefault(edge["run_id"], Tally())
        if edge["state"] == "met":
            tally.met += 1
            tally.delay = max(tally.delay, edge["delay"])
        else:
            tally.unmet += 1
            tally.obstacle = f"upstream {edge['what_happened']}"
    if tallies:
        await _count(db, tallies, step)
    return step


async def _count(db: "Connection", tallies: dict[UUID, Tally], step: Step) -> None:
    waiting = await db.fetch(Q["lock_waiting"], list(tallies))
    if not waiting:
        return
    rows = [_judge(row, tallies[row["id"]]) for row in waiting]
    wakes = False
    for run in await db.fetch(Q["count_needs"], *columns(rows)):
        if run["state"] == RunState.READY:
            step.pools.add(run["pool"])
        elif run["state"] == RunState.SKIPPED:
            step.skipped.append(run["id"])
        else:
            wakes = wakes or run["sweep_at"] is not None
    if wakes:
        await db.execute(_RING, WAKE, "")


def _judge(run: "asyncpg.Record", tally: Tally) -> tuple[UUID, int, int, float | None, RunState, bool, str | None]:
    """Return the new counters and state of a waiting run (columns of count_needs)."""
    undecided = run["needs_open"] - tally.met - tally.unmet
    met = run["needs_met"] + tally.met
    delay_s = tally.delay.total_seconds() or None
    rule = NeedsRule.ANY if run["needs_any"] else NeedsRule.ALL
    unmet = run["needs"] - met - undecided
    release = decide(rule, met=met, unmet=unmet, undecided=undecided)
    if release is Release.SKIP:
        return run["id"], undecided, met, None, RunState.SKIPPED, False, tally.obstacle
    released = release is Release.RELEASE
    held = delay_s is not None or run["release_at"] is not None or run["takes_turns"]
    state = RunState.READY if released and not held else RunState.WAITING
    return run["id"], undecided, met, delay_s, state, released, None
