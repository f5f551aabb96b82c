"""Plans due triggers: locks a batch, asks the policy, writes the ledger, moves the triggers on; one transaction."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from pydantic import TypeAdapter

from scheduler.domain.firing import CatchUpRules, Plan, PlannedFiring, plan
from scheduler.domain.planned import Schedule
from scheduler.domain.schedule import build_schedule
from scheduler.store.pool import json_text
from scheduler.store.queries import queries
from scheduler.store.stores import Store
from schemas.facts import FiringDue
from schemas.trigger_spec import CatchUpSpec, TriggerSpec

if TYPE_CHECKING:
    import asyncpg

    from scheduler.store.pool import Connection

Q: Final = queries("triggers")
_TRIGGER: Final[TypeAdapter[TriggerSpec]] = TypeAdapter(TriggerSpec)
_SCHEDULES_KEPT: Final = 200_000


@dataclass(frozen=True, slots=True)
class Rule:
    """What is parsed once of a trigger: its schedule and how it catches up."""

    schedule: Schedule
    catch_up: CatchUpRules
    max_fires: int | None
    params: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Planned:
    """The result of one pass: what to say, and whether more is due at once."""

    due: Sequence[FiringDue]
    triggers: int
    rows: int
    more: bool


class Planning:
    """Plans the due triggers of one store."""

    def __init__(self, new_id: Callable[[], UUID]) -> None:
        self._new_id = new_id
        self._rules: dict[tuple[UUID, int], Rule] = {}

    async def plan_due(self, store: Store, *, now: datetime, limit: int) -> Planned:
        """Plan at most ``limit`` triggers that are due at ``now``; the rows are committed on return."""
        async with store.transaction() as db:
            held = await db.fetch(Q["lock_due"], now, limit)
            if not held:
                return Planned((), 0, 0, more=False)
            plans = [(row, self._plan(row, now)) for row in held]
            due = await self._write(db, plans)
        rows = sum(len(planned.rows) for _, planned in plans)
        more = len(held) == limit or any(planned.more for _, planned in plans)
        return Planned(due, len(held), rows, more)

    def _plan(self, row: "asyncpg.Record", now: datetime) -> Plan:
        rule = self._rule(row)
        return plan(
            rule.schedule,
            since=row["last_at"],
            now=now,
            rules=rule.catch_up,
            remaining=None if rule.max_fires is None else rule.max_fires - row["fired"],
            paused_until=row["held_until"],
        )

    def _rule(self, row: "asyncpg.Record") -> Rule:
        key = (row["id"], row["job_version"])
        rule = self._rules.get(key)
        if rule is None:
            if len(self._rules) > _SCHEDULES_KEPT:
                self._rules.clear()
            rule = self._rules[key] = _parse(row)
        return rule

    async def _write(self, db: "Connection", plans: Sequence[tuple["asyncpg.Record", Plan]]) -> list[FiringDue]:
        fresh: list[tuple[asyncpg.Record, PlannedFiring]] = []
        for row, planned in plans:
            for index, firing in enumerate(planned.rows):
                if index > 0 or not await self._grow(db, row, firing):
                    fresh.append((row, firing))
        written = await db.fetch(Q["record_firings"], *self._columns(fresh)) if fresh else []
        await db.execute(
            Q["advance"],
            [row["id"] for row, _ in plans],
            [planned.planned_until for _, planned in plans],
            [planned.next_at for _, planned in plans],
            [row["fired"] + planned.used for row, planned in plans],
        )
        return [FiringDue(tenant=row["tenant"], firing_id=row["id"]) for row in written if row["verdict"] is None]

    @staticmethod
    async def _grow(db: "Connection", row: "asyncpg.Record", firing: PlannedFiring) -> bool:
        """Add a stretch to the ledger row right before it, if that has the same verdict."""
        if firing.verdict is None:
            return False
        last = firing.to_at or firing.fires_at
        grown = await db.fetch(Q["extend_range"], row["id"], firing.verdict, last, firing.count, row["last_at"])
        return bool(grown)

    def _columns(self, fresh: Sequence[tuple["asyncpg.Record", PlannedFiring]]) -> tuple[list[Any], ...]:
        return (
            [self._new_id() for _ in fresh],
            [row["tenant"] for row, _ in fresh],
            [row["id"] for row, _ in fresh],
            [row["job_id"] for row, _ in fresh],
            [row["job_version"] for row, _ in fresh],
            [firing.fires_at for _, firing in fresh],
            [firing.to_at for _, firing in fresh],
            [firing.count for _, firing in fresh],
            [firing.wall_time for _, firing in fresh],
            [firing.zone for _, firing in fresh],
            [json_text(self._rule(row).params) for row, _ in fresh],
            [firing.verdict for _, firing in fresh],
            [firing.reason for _, firing in fresh],
            list(range(len(fresh))),
        )


def _parse(row: "asyncpg.Record") -> Rule:
    trigger = _TRIGGER.validate_python(row["spec"])
    catch_up = trigger.catch_up or CatchUpSpec.model_validate(row["catch_up"])
    schedule = build_schedule(
        trigger,
        timezone=trigger.timezone or row["timezone"],
        hash_key=f"{row['tenant']}/{row['job_name']}",
        anchor=row["anchor_at"],
    )
    rules = CatchUpRules(policy=catch_up.policy, window=catch_up.window, max_runs=catch_up.max)
    return Rule(schedule, rules, trigger.max_fires, trigger.params or None)
