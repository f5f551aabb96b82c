"""Plans due triggers: locks a batch, asks the policy, writes the ledger, moves the triggers on; one transaction."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from scheduler.crash import crash_point
from scheduler.domain.firing import Plan, PlannedFiring
from scheduler.domain.shared_plans import SharedPlans
from scheduler.domain.zones import TZDATA_VERSION
from scheduler.store.absence import Look, record_absences
from scheduler.store.doorbell import WORK
from scheduler.store.queries import queries
from scheduler.store.rules import Rule, Rules
from scheduler.store.stores import Store
from schemas.facts import FiringDue
from schemas.vocabulary import Verdict

if TYPE_CHECKING:
    import asyncpg

    from scheduler.store.pool import Connection

Q: Final = queries("triggers")
UNPLANNED: Final = timedelta(minutes=5)
"""After so long a trigger that cannot be planned is looked at again."""

_MISFIRED: Final = Verdict.MISFIRED

Missed = tuple["asyncpg.Record", PlannedFiring]
"""A trigger, and a stretch of its instants that was too late to run."""
_Made = tuple["asyncpg.Record", Rule, Plan]
_Fresh = tuple["asyncpg.Record", Rule, PlannedFiring, bool]


@dataclass(frozen=True, slots=True)
class Planned:
    """The result of one pass: what to say, and whether more is due at once."""

    due: Sequence[FiringDue]
    triggers: int
    rows: int
    more: bool
    holds: bool = False
    """Whether some of the rows are held by pacing."""
    misfired: Sequence["Missed"] = ()
    """Lines to log after the commit."""


class Planning:
    """Plans the due triggers of one store."""

    def __init__(self, new_id: Callable[[], UUID], lead: timedelta) -> None:
        """``lead``: how long before its instant the Dispatcher may be told of a firing."""
        self._new_id = new_id
        self._lead = lead
        self.rules = Rules()

    async def plan_due(self, store: Store, *, now: datetime, limit: int, ahead: timedelta | None = None) -> Planned:
        """Plan at most ``limit`` triggers that are due, or will be within ``ahead``; the rows are committed on return.

        ``ahead`` is the lead where it is not given. What is planned beyond the lead is not among what is to be
        said: sweeping finds it at its instant. A trigger that cannot be read or planned holds up no other: it
        keeps its cursor, so that nothing of it is lost, and is looked at again after UNPLANNED.
        """
        ahead = max(self._lead, ahead or self._lead)
        async with store.transaction(flush=False) as db:
            held = await db.fetch(Q["lock_due"], now + ahead, limit)
            if not held:
                return Planned((), 0, 0, more=False)
            await self.rules.learn(db, held)
            shared = SharedPlans(now)
            plans = [made for row in held if (made := self._plan(row, now, ahead, shared)) is not None]
            written = await self._write(db, plans, now)
            if len(plans) < len(held):
                done = {row["id"] for row, _, _ in plans}
                left = [row for row in held if row["id"] not in done]
                whys = [self.rules.trouble(row) for row in left]
                await db.execute(Q["put_off"], [row["id"] for row in left], whys, now + UNPLANNED)
            crash_point("ticker.before_commit")
        rows = sum(len(planned.rows) for _, _, planned in plans)
        more = len(held) == limit or any(planned.more for _, _, planned in plans)
        due = [_due(row, now) for row in written if row["held_rank"] is None and row["fires_at"] <= now + self._lead]
        holds = any(row["held_rank"] is not None for row in written)
        missed = [(row, firing) for row, _, planned in plans for firing in planned.rows if firing.verdict is _MISFIRED]
        return Planned(due, len(held), rows, more, holds, missed)

    def _plan(self, row: "asyncpg.Record", now: datetime, ahead: timedelta, shared: SharedPlans) -> "_Made | None":
        """Return the plan of a trigger; None when there can be none."""
        rule = self.rules.of(row)
        if rule is None:
            return None
        try:
            planned = shared.plan(
                rule.schedule,
                since=row["last_at"],
                # What is overdue is caught up with as ever: a crowd's lead would take what lies ahead for missed too.
                rules=rule.ahead(ahead if row["next_at"] > now and rule.missing is None else self._lead),
                remaining=None if rule.max_fires is None else rule.max_fires - row["fired"],
                paused_until=row["held_until"],
            )
        except Exception as error:  # noqa: BLE001 - one schedule's fault must not stop the others
            self.rules.note(row, None, f"{type(error).__name__}: {error}")
            return None
        return row, rule, planned.suspended() if row["held_as"] == Verdict.TENANT_SUSPENDED else planned

    async def _write(self, db: "Connection", plans: Sequence["_Made"], now: datetime) -> list["asyncpg.Record"]:
        """Write the rows and move the triggers on; return those that are owed a verdict.

        What a trigger that looks for something missing is to look at is an event, not a firing.
        """
        fresh: list[_Fresh] = []
        looks: list[Look] = []
        for row, rule, planned in plans:
            paced = planned.paced(now, rule.catch_up)
            for index, firing in enumerate(planned.rows):
                if rule.missing is not None and firing.verdict is None:
                    looks.append((self._new_id(), row, firing.fires_at, rule.missing, rule.schedule))
                elif index > 0 or not await self._grow(db, row, firing):
                    fresh.append((row, rule, firing, paced[index]))
        written = await db.fetch(Q["record_firings"], *self._columns(fresh), now + self._lead) if fresh else []
        if any(firing.verdict is None and firing.fires_at > now + self._lead for _, _, firing, _ in fresh):
            await db.execute(Q["ring"], WORK, "")  # the sweep that is to find them may sleep beyond their instant
        await record_absences(db, looks)
        await db.execute(
            Q["advance"],
            [row["id"] for row, _, _ in plans],
            [planned.planned_until for _, _, planned in plans],
            [planned.next_at for _, _, planned in plans],
            [row["fired"] + (planned.used if rule.missing is None else 0) for row, rule, planned in plans],
            TZDATA_VERSION,
        )
        return [row for row in written if row["verdict"] is None]

    @staticmethod
    async def _grow(db: "Connection", row: "asyncpg.Record", firing: PlannedFiring) -> bool:
        """Add a stretch to the ledger row right before it, if that has the same verdict."""
        if firing.verdict is None:
            return False
        last = firing.to_at or firing.fires_at
        grown = await db.fetch(Q["extend_range"], row["id"], firing.verdict, last, firing.count, row["last_at"])
        return bool(grown)

    def _columns(self, fresh: Sequence["_Fresh"]) -> tuple[Any, ...]:
        return (
            [self._new_id() for _ in fresh],
            [row["tenant"] for row, _, _, _ in fresh],
            [row["id"] for row, _, _, _ in fresh],
            [row["job_id"] for row, _, _, _ in fresh],
            [row["job_version"] for row, _, _, _ in fresh],
            [firing.fires_at for _, _, firing, _ in fresh],
            [firing.to_at for _, _, firing, _ in fresh],
            [firing.count for _, _, firing, _ in fresh],
            [firing.wall_time for _, _, firing, _ in fresh],
            [firing.zone for _, _, firing, _ in fresh],
            [rule.params for _, rule, _, _ in fresh],
            [firing.verdict for _, _, firing, _ in fresh],
            [firing.reason for _, _, firing, _ in fresh],
            [rule.rank if paced else None for _, rule, _, paced in fresh],
            [rule.catch_up.deadline(firing.fires_at) for _, rule, firing, _ in fresh],
            list(range(len(fresh))),
            TZDATA_VERSION,
            [row["calendar_version"] for row, _, _, _ in fresh],
        )


def _due(row: "asyncpg.Record", now: datetime) -> FiringDue:
    fires_at = row["fires_at"]
    return FiringDue(tenant=row["tenant"], firing_id=row["id"], fires_at=fires_at if fires_at > now else None)
