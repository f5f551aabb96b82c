"""Keeps what triggers gather of events in rows: firings that wait, and gathered events that take up others.

Whoever decides an event of such a trigger holds the trigger meanwhile. What waits has ``sweep_at``, so
that any Dispatcher goes on with it, after a restart too.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from scheduler.domain.gathering import (
    PASSES,
    Gate,
    GroupKey,
    Opened,
    Placed,
    is_closed,
    is_gathered,
    members_of,
    pause_of,
    take_up,
    takes_up,
)
from scheduler.domain.matching import Event, Match
from scheduler.store.event_rows import event_of
from scheduler.store.pool import json_text
from scheduler.store.queries import columns, queries
from schemas.vocabulary import Verdict

if TYPE_CHECKING:
    import asyncpg

    from scheduler.store.pool import Connection

Q: Final = queries("gathering")
_DECIDE: Final = queries("flows")["decide_firings"]
_MAX_TOPIC_CHARS: Final = 255

Fired = tuple["asyncpg.Record", Event, Match]


class Gathering:
    """What one batch of events comes to at triggers that gather. ``places`` is parallel to ``fired``."""

    def __init__(self, fired: Sequence[Fired], new_id: Callable[[], UUID]) -> None:
        self.places: list[Placed] = [PASSES] * len(fired)
        self.complete: list[UUID] = []
        """Gathered events that nothing more goes into: they are to be decided at once."""
        self._fired = fired
        self._new_id = new_id
        mine = [index for index, (_, event, match) in enumerate(fired) if is_gathered(match, event)]
        self._ups = _groups(fired, [index for index in mine if takes_up(fired[index][2], fired[index][1])])
        self._gates = _groups(fired, [index for index in mine if not takes_up(fired[index][2], fired[index][1])])

    async def place(self, db: "Connection") -> None:
        """Decide what becomes of the events, and write what is kept of them."""
        if not self._ups and not self._gates:
            return
        held = {trigger for trigger, _ in (*self._ups, *self._gates)}
        await db.execute(Q["lock_triggers"], list(held))
        if self._gates:
            await self._pass(db)
        if self._ups:
            await self._take_up(db)

    async def _pass(self, db: "Connection") -> None:
        """Debounce and throttle."""
        passed = await self._passed(db)
        waiting: dict[GroupKey, list[UUID]] = {}
        for row in await db.fetch(Q["list_held"], *columns(self._gates)):
            if self._fired[self._gates[row["trigger_id"], row["hold_key"]][0]][2].trigger.spec.debounce is not None:
                waiting.setdefault((row["trigger_id"], row["hold_key"]), []).append(row["id"])
        replaced: list[tuple[UUID, Verdict | None, str | None, None, None]] = []
        for group, indexes in self._gates.items():
            gate = Gate(self._fired[indexes[0]][2], passed.get(group, []))
            before = waiting.get(group, [])
            last: int | None = None
            for index in indexes:
                event = self._fired[index][1]
                if gate.match.trigger.spec.debounce is not None and (before or last is not None):
                    place = gate.replaced(event.id)
                    replaced += [(firing, place.verdict, place.reason, None, None) for firing in before]
                    if last is not None:
                        self.places[last] = place
                    before, last = [], None
                self.places[index] = gate.place(event)
                last = index if self.places[index].verdict is None else None
        if replaced:
            await db.execute(_DECIDE, *columns(replaced))

    async def _passed(self, db: "Connection") -> dict[GroupKey, list[datetime]]:
        """Return when firings of throttled groups were let pass lately."""
        asked = []
        for (trigger, key), indexes in self._gates.items():
            rate = pause_of(self._fired[indexes[0]][2].trigger.spec)
            if rate is not None:
                first = min(self._fired[index][1].received_at for index in indexes)
                asked.append((trigger, key, first - rate.every * rate.count))
        found: dict[GroupKey, list[datetime]] = {}
        for row in await db.fetch(Q["list_passed"], *columns(asked)) if asked else ():
            found.setdefault((row["trigger_id"], row["hold_key"]), []).append(row["fires_at"])
        return {group: sorted(instants) for group, instants in found.items()}

    async def _take_up(self, db: "Connection") -> None:
        """Put events into gathered ones."""
        opened: dict[GroupKey, Opened] = {
            (row["trigger_id"], row["key"]): Opened(row["id"], row["data"])
            for row in await db.fetch(Q["find_open"], *columns(self._ups))
        }
        written: list[tuple[Opened, Match, str]] = []
        for group, indexes in self._ups.items():
            one = opened.get(group)
            for index in indexes:
                row, event, match = self._fired[index]
                if one is None:
                    one = Opened(self._new_id(), {})
                if not one.changed:
                    written.append((one, match, row["tenant"]))
                self.places[index] = take_up(match, event, len(json_text(event.data) or ""), one)
                if is_closed(one):
                    self.complete.append(one.id)
                    one = None
        timed = [
            (one.id, tenant, _topic(match), match.key, json_text(one.data), match.trigger.id, one.wait_s)
            for one, match, tenant in written
            if one.wait_s is not None
        ]
        if timed:
            await db.execute(Q["write_open"], *columns(timed))
        kept = [(one.id, json_text(one.data)) for one, _, _ in written if one.wait_s is None]
        if kept:
            await db.execute(Q["keep_open"], *columns(kept))


async def fill_gathered(db: "Connection", gathered: Mapping[UUID, dict[str, Any]]) -> dict[UUID, tuple[Any, int]]:
    """Give gathered events what they stand for; return data and depth of each."""
    if not gathered:
        return {}
    members = {gathered_id: members_of(data) for gathered_id, data in gathered.items()}
    wanted = {member for ids in members.values() for member in ids}
    events = {row["id"]: event_of(row) for row in await db.fetch(Q["get_events"], list(wanted))}
    filled: dict[UUID, tuple[Any, int]] = {}
    for gathered_id, ids in members.items():
        found = [events[member] for member in ids if member in events]
        data = {"count": len(found), "events": [event.words() for event in found]}
        filled[gathered_id] = data, max((event.depth for event in found), default=0)
    rows = [(gathered_id, json_text(data), depth) for gathered_id, (data, depth) in filled.items()]
    await db.execute(Q["fill_gathered"], *columns(rows))
    return filled


def _groups(fired: Sequence[Fired], indexes: Sequence[int]) -> dict[GroupKey, list[int]]:
    groups: dict[GroupKey, list[int]] = {}
    for index in indexes:
        match = fired[index][2]
        groups.setdefault((match.trigger.id, match.key), []).append(index)
    return groups


def _topic(match: Match) -> str:
    name = match.trigger.job.name if match.trigger.job else str(match.trigger.job_id)
    return f"gathered.{name}"[:_MAX_TOPIC_CHARS]
