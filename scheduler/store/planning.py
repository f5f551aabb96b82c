"""Plans due triggers: locks a batch, asks the policy, writes the ledger, moves the triggers on; one transaction."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from pydantic import TypeAdapter

from scheduler.crash import crash_point
from scheduler.domain.firing import CatchUpRules, Plan, PlannedFiring, plan
from scheduler.domain.planned import Schedule
from scheduler.domain.schedule import build_schedule
from scheduler.store.pool import json_text
from scheduler.store.queries import queries
from scheduler.store.stores import Store
from schemas.facts import FiringDue
from schemas.trigger_model import CatchUpSpec
from schemas.trigger_spec import TriggerSpec

if TYPE_CHECKING:
    import asyncpg

    from scheduler.store.pool import Connection

Q: Final = queries("triggers")
_TRIGGER: Final[TypeAdapter[TriggerSpec]] = TypeAdapter(TriggerSpec)
_RULES_KEPT: Final = 200_000


@dataclass(frozen=True, slots=True)
class Rule:
    """What is parsed once of a trigger: its schedule and how it catches up."""

    schedule: Schedule
    catch_up: CatchUpRules
    max_fires: int | None
    params: str | None
    """JSON text of the trigger's params."""


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
        self._parsed: dict[tuple[object, ...], Rule] = {}

    async def plan_due(self, store: Store, *, now: datetime, limit: int) -> Planned:
        """Plan at most ``limit`` triggers that are due at ``now``; the rows are committed on return."""
        async with store.transaction() as db:
            held = await db.fetch(Q["lock_due"], now, limit)
            if not held:
                return Planned((), 0, 0, more=False)
            await self._learn(db, held)
            plans = [(row, self._plan(row, now)) for row in held]
            due = await self._write(db, plans)
            crash_point("ticker.before_commit")
        rows = sum(len(planned.rows) for _, planned in plans)
        more = len(held) == limit or any(planned.more for _, planned in plans)
        return Planned(due, len(held), rows, more)

    def _plan(self, row: "asyncpg.Record", now: datetime) -> Plan:
        rule = self._rules[_key(row)]
        return plan(
            rule.schedule,
            since=row["last_at"],
            now=now,
            rules=rule.catch_up,
            remaining=None if rule.max_fires is None else rule.max_fires - row["fired"],
            paused_until=row["held_until"],
        )

    async def _learn(self, db: "Connection", held: Sequence["asyncpg.Record"]) -> None:
        """Have the rule of each trigger at hand. Most of a herd share a few texts, which are parsed once."""
        missing = {row["id"]: row["job_version"] for row in held if _key(row) not in self._rules}
        if not missing:
            return
        if len(self._rules) > _RULES_KEPT:
            self._rules.clear()
            self._parsed.clear()
        for row in await db.fetch(Q["get_rules"], list(missing)):
            text = (
                row["spec"],
                row["timezone"],
                row["catch_up"],
                row["anchor_at"],
                f"{row['tenant']}/{row['job_name']}",
            )
            # Only a hashed field depends on the job's name, and only an interval on the anchor.
            key = text if '"every"' in text[0] or "H" in text[0] else text[:3]
            rule = self._parsed.get(key)
            if rule is None:
                rule = self._parsed[key] = _parse(*text)
            self._rules[row["id"], missing[row["id"]]] = rule

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
            [self._rules[_key(row)].params for row, _ in fresh],
            [firing.verdict for _, firing in fresh],
            [firing.reason for _, firing in fresh],
            list(range(len(fresh))),
        )


def _key(row: "asyncpg.Record") -> tuple[UUID, int]:
    return row["id"], row["job_version"]


def _parse(spec: str, timezone: str, catch_up: str, anchor: datetime, hash_key: str) -> Rule:
    # As in messages, a key that a newer program has stored must not stop this one.
    trigger = _TRIGGER.validate_json(spec, extra="ignore")
    limits = trigger.catch_up or CatchUpSpec.model_validate_json(catch_up, extra="ignore")
    schedule = build_schedule(trigger, timezone=trigger.timezone or timezone, hash_key=hash_key, anchor=anchor)
    rules = CatchUpRules(policy=limits.policy, window=limits.window, max_runs=limits.max)
    return Rule(schedule, rules, trigger.max_fires, json_text(trigger.params or None))
