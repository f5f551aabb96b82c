"""The TestScheduler."""

import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from scheduler.domain.firing import plan
from scheduler.domain.gates import JobEntry
from scheduler.domain.matching import WEBHOOK_TOPIC, Event, EventTriggers
from scheduler.errors import ConflictError, NotFoundError
from scheduler.simulation.cursors import Cursor, cursors, entries
from scheduler.simulation.gates import PlayedGates
from scheduler.simulation.instants import to_instant, to_us
from scheduler.simulation.ledger import LedgerRow, ledger_row
from scheduler.simulation.runs import Rank, Runs
from scheduler.simulation.simulated_run import Fired, FiredAt, FlowBelow
from scheduler.testing.events import event_row, event_triggers
from scheduler.testing.played_run import PlayedRun
from scheduler.testing.player import Player, Span, span_of
from scheduler.testing.sources import Source, read_sources
from schemas.event_trigger import check_topic
from schemas.json_values import check_json
from schemas.spec_model import parse_moment
from schemas.vocabulary import EventSource, FiringKind, Verdict

_START: Final = "2026-01-01T00:00:00Z"


class TestScheduler:
    """Runs jobs under a virtual clock: their own functions, in this process, when their triggers fire.

    Schedules, catch-up, events, overlap, needs, retries and unique keys are decided by the code of the
    running system; concurrency keys and rates hold as they do there. Runs start as soon as they may and
    take no time, or what ``takes`` says. Pools, slots, ``timeout.queue``, watched folders, circuit
    breakers, and triggers that gather events or wait for ends of runs are not there; no database, no
    broker. What a function reads from a clock of its own is the real time.
    """

    __test__ = False  # pytest: this is no test class

    def __init__(
        self,
        *sources: Source,
        now: datetime | str = _START,
        takes: Mapping[str, Span] | None = None,
        stand_ins: Mapping[str, Callable[..., Any]] | None = None,
        secrets: Mapping[str, str] | None = None,
    ) -> None:
        """``sources``: modules with ``@job`` functions, such functions, or definitions files.

        They are applied at ``now``. ``takes`` says by job how long an attempt takes; one longer than the
        hard timeout is timed out, and its function is not called. ``stand_ins`` are functions by job, called
        instead of what it runs; a command, script or request without one succeeds and does nothing.

        Raises:
            DefinitionsError: with all that is wrong with the jobs.
            NotFoundError: ``takes`` or ``stand_ins`` name a job that there is not.
        """
        definitions, functions = read_sources(sources)
        self._now = to_us(_instant(now))
        self._jobs = entries(definitions.jobs)
        self._ids = {name: job.id for name, job in self._jobs.items()}
        self._graph = definitions.graph
        self._webhooks = frozenset(definitions.webhooks)
        for name in (*(takes or ()), *(stand_ins or ())):
            self._job(name)
        spans = {name: span_of(span) for name, span in (takes or {}).items()}
        self._gates = PlayedGates()
        called = {**functions, **(stand_ins or {})}
        self._player = Player(definitions.tenant, called, spans, secrets or {}, self._gates.event_of)
        self._events: list[tuple[int, Rank, int, Callable[[int], None]]] = []
        self._order = itertools.count()
        self._runs = Runs(self._player.attempt, self._push, self._gates)
        self._triggers = EventTriggers(event_triggers(self._jobs.values()))
        self._fired: Counter[UUID] = Counter()
        self.firings: list[LedgerRow] = []
        """The ledger: every planned firing with its verdict and reason."""
        for job in self._jobs.values():
            for cursor in cursors(job, definitions.tenant, to_instant(self._now), definitions.resolved_calendars):
                self._push_tick(cursor)

    @property
    def now(self) -> datetime:
        """The virtual time, UTC."""
        return to_instant(self._now)

    @property
    def runs(self) -> list[PlayedRun]:
        """Every run so far, in the order in which they were made."""
        return [self._player.played(run) for run in self._runs.made]

    def last(self, job: str) -> PlayedRun:
        """Return the newest run of a job.

        Raises:
            NotFoundError: it has none, or there is no such job.
        """
        self._job(job)
        for run in reversed(self._runs.made):
            if run.job.name == job:
                return self._player.played(run)
        raise NotFoundError(f"job {job} has no run")

    def advance(self, span: str | timedelta | None = None, /, **parts: float) -> list[PlayedRun]:
        """Let time pass: ``advance("90m")``, ``advance(hours=3)``. Returns the runs made meanwhile."""
        return self.advance_to(self.now + _length(span, parts))

    def advance_to(self, instant: datetime | str) -> list[PlayedRun]:
        """Let time pass up to and including ``instant``, as ``advance``.

        Raises:
            ValueError: it has passed already, or has no offset.
        """
        until = to_us(_instant(instant))
        if until < self._now:
            raise ValueError(f"it is {self.now.isoformat()} already")
        made = len(self._runs.made)
        self._work(until)
        return self.runs[made:]

    def outage(self, span: str | timedelta | None = None, /, **parts: float) -> list[PlayedRun]:
        """Let time pass while nothing of the scheduler runs, then start it: catch-up decides what is still run."""
        made = len(self._runs.made)
        self._now = to_us(self.now + _length(span, parts))
        self._work(self._now)
        return self.runs[made:]

    def trigger(self, job: str, params: Mapping[str, Any] | None = None) -> PlayedRun:
        """Fire a job by hand and return its run; what takes no time has ended, and so has all that follows it.

        With ``unique: {on_duplicate: join}`` it may be the earlier run, which stands for it.

        Raises:
            NotFoundError: there is no such job.
            ConflictError: it was not started; says the verdict and why.
        """
        self._work(self._now)
        fired_at = FiredAt(self._now, self._now, params)
        fired = self._fire(FiringKind.MANUAL, self._job(job), fired_at)
        run = fired.blocking if fired.decision.verdict is Verdict.JOINED else fired.run
        if run is None:
            raise ConflictError(f"job {job}: {fired.decision.verdict}, {fired.reason}")
        self._work(self._now)
        return self._player.played(run)

    def event(
        self, topic: str, data: Mapping[str, Any] | None = None, *, subject: str | None = None
    ) -> list[PlayedRun]:
        """Publish an event: ``event("orders.eu.created", {"id": 7})``. Returns the runs that it made.

        ``topic`` is without the tenant. Which jobs it fires, ``where``, ``params`` and ``max_fires`` are
        decided as in the running system; what it fires is in ``firings``, also where nothing started.

        Raises:
            ValueError: it is no topic, or ``data`` is no JSON.
        """
        return self._happen(EventSource.CLI, check_topic(topic), data, subject)

    def webhook(self, name: str, data: Mapping[str, Any] | None = None) -> list[PlayedRun]:
        """Send a request that an endpoint of ``webhooks`` accepts: ``webhook("uploads", {"id": 7})``. As ``event``.

        Raises:
            NotFoundError: there is no such endpoint.
            ValueError: ``data`` is no JSON.
        """
        if name not in self._webhooks:
            raise NotFoundError(f"there is no webhook {name}")
        return self._happen(EventSource.WEBHOOK, f"{WEBHOOK_TOPIC}{name}", data, None)

    def _happen(
        self, source: EventSource, topic: str, data: Mapping[str, Any] | None, subject: str | None
    ) -> list[PlayedRun]:
        self._work(self._now)
        made = len(self._runs.made)
        known = dict(data or {})
        check_json(known)
        event = Event(self._runs.new_id(), source, topic, known, self.now, subject)
        for match in self._triggers.match(event).matches:
            job, spec, key = match.trigger.job, match.trigger.spec, match.trigger.id
            if job is None or (spec.max_fires is not None and self._fired[key] >= spec.max_fires):
                continue
            self._fired[key] += 1
            at = FiredAt(self._now, self._now, match.params, event=event.words())
            fired = None if match.problem is not None else self._fire(FiringKind.EVENT, job, at)
            self.firings.append(event_row(match, fired, self.now))
        self._work(self._now)
        return self.runs[made:]

    def _fire(self, kind: FiringKind, job: JobEntry, at: FiredAt) -> Fired:
        return self._runs.fire(kind, job, self._below(job), at)

    def _job(self, name: str) -> JobEntry:
        if name not in self._jobs:
            raise NotFoundError(f"there is no job {name}")
        return self._jobs[name]

    def _below(self, job: JobEntry) -> FlowBelow:
        return FlowBelow([self._jobs[name] for name in self._graph.downstream(job.name)], self._ids)

    def _push(self, at: int, rank: Rank, action: Callable[[int], None]) -> None:
        heapq.heappush(self._events, (at, rank, next(self._order), action))

    def _push_tick(self, cursor: Cursor) -> None:
        if cursor.next_at is not None:
            self._push(cursor.next_at, Rank.TICK, lambda now: self._tick(cursor, now))

    def _work(self, until: int) -> None:
        while self._events and self._events[0][0] <= until:
            at, _, _, action = heapq.heappop(self._events)
            self._now = max(self._now, at)  # what fell into an outage comes after it
            action(self._now)
            self._gates.look(self._runs, self._now)
        self._now = max(self._now, until)

    def _tick(self, cursor: Cursor, now: int) -> None:
        more = True
        while more:
            planned = plan(
                cursor.schedule,
                since=cursor.last_at,
                now=to_instant(now),
                rules=cursor.rules,
                remaining=cursor.remaining,
            )
            more = planned.more
            cursor.last_at = planned.planned_until
            cursor.next_at = None if planned.next_at is None else to_us(planned.next_at)
            cursor.fired += planned.used
            for firing in planned.rows:
                verdict, reason, run, blocking = firing.verdict, firing.reason, None, None
                if verdict is None:
                    at = FiredAt(to_us(firing.fires_at), now, cursor.trigger.params or None, templates=True)
                    fired = self._fire(FiringKind.TIME, cursor.job, at)
                    verdict, reason = fired.decision.verdict, fired.reason
                    run, blocking = (None if one is None else one.name for one in (fired.run, fired.blocking))
                row = ledger_row(cursor, firing, verdict, reason, now)
                self.firings.append(replace(row, run=run, blocking_run=blocking))
        self._push_tick(cursor)


def _instant(given: datetime | str) -> datetime:
    instant = parse_moment(given) if isinstance(given, str) else given
    if instant.tzinfo is None:
        raise ValueError(f"{given} needs an offset, as in {_START}")
    return instant


def _length(span: str | timedelta | None, parts: Mapping[str, float]) -> timedelta:
    length = (timedelta() if span is None else span_of(span)) + timedelta(**parts)
    if length < timedelta():
        raise ValueError("time does not go back")
    return length
