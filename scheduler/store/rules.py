"""What is parsed of stored triggers, and kept: the schedule, how it catches up, what its runs get."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog
from pydantic import TypeAdapter

from scheduler.domain.calendar import Calendar
from scheduler.domain.firing import CatchUpRules
from scheduler.domain.planned import Schedule
from scheduler.domain.schedule import build_schedule
from scheduler.store.calendars import CalendarVersions
from scheduler.store.pool import json_text
from scheduler.store.queries import queries
from scheduler.store.unreadable import describe
from schemas.happening_trigger import MissingSpec, MissingTrigger
from schemas.trigger_model import CatchUpSpec
from schemas.trigger_spec import PlannedTriggerSpec
from schemas.vocabulary import Priority

if TYPE_CHECKING:
    import asyncpg

    from scheduler.store.pool import Connection

log: structlog.stdlib.BoundLogger = structlog.get_logger()

Q: Final = queries("triggers")
_TRIGGER: Final[TypeAdapter[PlannedTriggerSpec]] = TypeAdapter(PlannedTriggerSpec)
_KEPT: Final = 200_000
_Key = tuple[UUID, int, datetime, int | None]


@dataclass(frozen=True, slots=True)
class Rule:
    """What is parsed once of a trigger: its schedule and how it catches up."""

    schedule: Schedule
    catch_up: CatchUpRules
    max_fires: int | None
    rank: int
    """Of its job's priority, 0 is the most urgent."""
    params: str | None
    """JSON text of the trigger's params."""
    missing: MissingSpec | None = None
    """What is looked for at its instants; None: it fires at them."""
    _ahead: dict[timedelta, CatchUpRules] = field(default_factory=dict)

    def ahead(self, lead: timedelta) -> CatchUpRules:
        """Return how it catches up when it is planned ``lead`` before its instants."""
        rules = self._ahead.get(lead)
        if rules is None:
            self._ahead.clear()  # leads change with the load; the last one serves a whole batch
            rules = self._ahead[lead] = replace(self.catch_up, lead=lead)
        return rules


class Rules:
    """The rules of the triggers of one store. What cannot be read is asked for again each time."""

    def __init__(self) -> None:
        self._rules: dict[_Key, Rule] = {}
        self._parsed: dict[tuple[object, ...], Rule] = {}
        self._troubles: dict[UUID, tuple[int, str]] = {}
        self._calendars = CalendarVersions()

    async def learn(self, db: "Connection", held: Sequence["asyncpg.Record"]) -> None:
        """Have the rule of each trigger at hand. Most of a herd share a few texts, which are parsed once."""
        missing = {row["id"]: row for row in held if _key(row) not in self._rules}
        if not missing:
            return
        if len(self._rules) > _KEPT:
            self._rules.clear()
            self._parsed.clear()
            self._troubles.clear()
        texts = await db.fetch(Q["get_rules"], list(missing))
        calendars = await self._calendars.load(db, filter(None, map(_calendar, texts)))
        for text in texts:
            row = missing[text["id"]]
            try:
                self._rules[_key(row)] = self._read(text, calendars.get(_calendar(text) or ("", "", 0)))
            except Exception as error:  # noqa: BLE001 - whatever a row holds, it must not stop the others
                self.note(row, text, describe(error))

    def of(self, row: "asyncpg.Record") -> Rule | None:
        """Return the rule of a trigger that was learned; None: it cannot be read, see ``trouble``."""
        return self._rules.get(_key(row))

    def trouble(self, row: "asyncpg.Record") -> str:
        """Return why a trigger is not planned."""
        return self._troubles.get(row["id"], (0, "its definition is missing"))[1]

    def note(self, row: "asyncpg.Record", text: "asyncpg.Record | None", why: str) -> None:
        """Keep why a trigger is not planned, and log it once for each change of the job or of the reason."""
        if self._troubles.get(row["id"]) == (row["job_version"], why):
            return
        self._troubles[row["id"]] = (row["job_version"], why)
        names = {} if text is None else {"job": text["job_name"], "trigger": text["key"]}
        log.error("trigger.unplanned", tenant=row["tenant"], trigger_id=str(row["id"]), **names, error=why)

    def _read(self, text: "asyncpg.Record", calendar: Calendar | None) -> Rule:
        parts = (text["spec"], text["timezone"], text["catch_up"], text["priority"])
        # Only a hashed field and jitter depend on the job's name, and only an interval on the anchor.
        own = (text["anchor_at"], f"{text['tenant']}/{text['job_name']}")
        is_own = any(sign in parts[0] for sign in ('"every"', '"jitter"', "H"))
        key = (*parts, _calendar(text), *(own if is_own else ()))
        rule = self._parsed.get(key)
        if rule is None:
            calendars = {} if calendar is None else {calendar.name: calendar}
            rule = self._parsed[key] = _parse(parts, *own, calendars)
        return rule


def _key(row: "asyncpg.Record") -> _Key:
    # A trigger that is deleted and comes back with the same text has the same version and a new anchor.
    return row["id"], row["job_version"], row["anchor_at"], row["calendar_version"]


def _calendar(text: "asyncpg.Record") -> tuple[str, str, int] | None:
    """Return which calendar a trigger was planned by; None: it has none."""
    if text["calendar_version"] is None:
        return None
    return text["tenant"], text["calendar"], text["calendar_version"]


def _parse(
    parts: tuple[str, str, str, str], anchor: datetime, hash_key: str, calendars: Mapping[str, Calendar]
) -> Rule:
    spec, timezone, catch_up, priority = parts
    # As in messages, a key that a newer program has stored must not stop this one.
    trigger = _TRIGGER.validate_json(spec, extra="ignore")
    limits = trigger.catch_up or CatchUpSpec.model_validate_json(catch_up, extra="ignore")
    schedule = build_schedule(
        trigger,
        timezone=trigger.timezone or timezone,
        hash_key=hash_key,
        anchor=anchor,
        calendars=calendars,
    )
    rules = CatchUpRules(policy=limits.policy, window=limits.window, max_runs=limits.max)
    rank, params = Priority(priority).rank, json_text(trigger.params or None)
    if isinstance(trigger, MissingTrigger):  # who looks counts what it finds missing
        return Rule(schedule, rules, None, rank, None, trigger.missing)
    return Rule(schedule, rules, trigger.max_fires, rank, params)
