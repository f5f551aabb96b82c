"""A lane: jobs that hang together by needs, and all that happens to them, event by event.

No job of one lane has any influence on another lane: runs start as soon as their limits let them,
as if every pool had slots enough. Between events nothing moves, so that time is only a number here.
"""

import heapq
import itertools
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial

from scheduler.domain.firing import PlannedFiring, plan
from scheduler.domain.gates import JobEntry
from scheduler.domain.retry import EndFacts
from scheduler.simulation.assumptions import Assumptions
from scheduler.simulation.cursors import Cursor
from scheduler.simulation.gates import PlayedGates
from scheduler.simulation.instants import to_instant, to_us
from scheduler.simulation.ledger import Chapter, LedgerRow, Stretch, ledger_row
from scheduler.simulation.pace import Pace
from scheduler.simulation.quiet import Quiet
from scheduler.simulation.runs import Rank, Runs
from scheduler.simulation.simulated_run import FiredAt, FlowBelow, SimulatedRun
from scheduler.simulation.tally import Tally
from schemas.vocabulary import FiringKind, Verdict


class Lane:
    """Works through one lane from the beginning to the end of the time looked at."""

    def __init__(
        self,
        cursors: Sequence[Cursor],
        downstream: Mapping[str, Sequence[JobEntry]],
        assumptions: Assumptions,
        pace: Pace,
        tally: Tally,
    ) -> None:
        """Take the triggers of the lane, and for each job of theirs everything that follows it, in order."""
        self._cursors = cursors
        self._downstream = downstream
        self._outages = assumptions.stretches()
        self._until = to_us(assumptions.until)
        self._pace = pace
        self._held = 0
        self._tally = tally
        jobs = [job for cursor in cursors for job in (cursor.job, *downstream[cursor.job.name])]
        self._ids = {job.name: job.id for job in jobs}
        self._gates = PlayedGates() if any(map(_is_limited, jobs)) else None
        self._runs = Runs(partial(_attempt, assumptions), self._push, self._gates)
        self._quiet = Quiet(cursors, self._runs, repeatable=_repeatable(jobs, assumptions))
        self._events: list[tuple[int, Rank, int, Callable[[int], None]]] = []
        self._order = itertools.count()
        self._chapter = Chapter()
        self.story: list[Chapter | Stretch] = []

    def work(self) -> None:
        """Do everything that happens; ``story`` then tells it."""
        self._push_ticks()
        while self._events and self._events[0][0] < self._until:
            if not self._runs.open and not self._held and self._turn_page():
                continue
            at, rank, order, action = heapq.heappop(self._events)
            begun = next((end for begin, end in self._outages if begin <= at < end), None)
            if begun is None:
                self._tally.step()
                action(at)
                if self._gates is not None:
                    self._gates.look(self._runs, at)
            else:
                self._quiet.forget()
                heapq.heappush(self._events, (begun, rank, order, action))
        self._close_chapter()

    def _push(self, at: int, rank: Rank, action: Callable[[int], None]) -> None:
        heapq.heappush(self._events, (at, rank, next(self._order), action))

    def _push_ticks(self) -> None:
        self._events.clear()
        for place in range(len(self._cursors)):
            self._push_tick(place)

    def _push_tick(self, place: int) -> None:
        """Have a trigger planned at its next instant; of those due at one instant the first of the job comes first."""
        next_at = self._cursors[place].next_at
        if next_at is not None:
            tick: Callable[[int], None] = partial(self._tick, place)
            heapq.heappush(self._events, (next_at, Rank.TICK, place, tick))

    def _turn_page(self) -> bool:
        """End the chapter where nothing goes on; True when a stretch of firings was taken in one go after it."""
        self._quiet.learn(self._chapter)
        begin = self._events[0][0]
        if any(first <= begin < end for first, end in self._outages):
            return False
        barrier = min([first for first, _ in self._outages if first > begin] + [self._until])
        taken = self._quiet.take(begin, barrier)
        if not taken:
            return False
        self._close_chapter()
        for stretch in taken:
            self._tally.take(stretch)
        self.story += taken
        self._push_ticks()
        return True

    def _close_chapter(self) -> None:
        if self._chapter.rows:
            self._chapter.runs = self._runs.made
            self._runs.made = []
            self._tally.take_chapter(self._chapter)
            self.story.append(self._chapter)
            self._chapter = Chapter()

    def _tick(self, place: int, now: int) -> None:
        """Plan what is due of a trigger, as the Ticker does, and decide it at once."""
        cursor = self._cursors[place]
        self._quiet.watch(cursor, now, self._chapter)
        now_at = to_instant(now)
        more = True
        while more:
            planned = plan(
                cursor.schedule, since=cursor.last_at, now=now_at, rules=cursor.rules, remaining=cursor.remaining
            )
            more = planned.more
            cursor.last_at = planned.planned_until
            cursor.next_at = None if planned.next_at is None else to_us(planned.next_at)
            cursor.fired += planned.used
            for firing in planned.rows:
                if firing.verdict is not None:
                    self._chapter.rows.append(ledger_row(cursor, firing, firing.verdict, firing.reason, now))
                elif (release_at := self._pace.release_at(cursor, firing.fires_at, now)) > now:
                    self._held += 1
                    self._push(release_at, Rank.WAKE, partial(self._let_go, cursor, firing))
                else:
                    self._chapter.rows.append(self._decide(cursor, firing, now))
        self._push_tick(place)

    def _let_go(self, cursor: Cursor, firing: PlannedFiring, now: int) -> None:
        """Decide a firing that was held by pacing; it may be too late by now."""
        self._held -= 1
        if to_instant(now) - firing.fires_at > cursor.rules.window:
            reason = "held by pacing until it was later than the catch-up window"
            self._chapter.rows.append(ledger_row(cursor, firing, Verdict.MISFIRED, reason, now))
        else:
            self._chapter.rows.append(self._decide(cursor, firing, now))

    def _decide(self, cursor: Cursor, firing: PlannedFiring, now: int) -> LedgerRow:
        """Give a firing its verdict, as the Dispatcher does, and start its flow."""
        job = cursor.job
        below = FlowBelow(self._downstream[job.name], self._ids)
        params = None if self._gates is None else cursor.trigger.params or None
        at = FiredAt(to_us(firing.fires_at), now, params, templates=True)
        fired = self._runs.fire(FiringKind.TIME, job, below, at)
        run, blocking = (None if found is None else found.name for found in (fired.run, fired.blocking))
        return LedgerRow(firing.fires_at, None, 1, job.name, cursor.key, firing.wall_time, firing.zone,
                         fired.decision.verdict, fired.reason, to_instant(now), run, blocking)  # fmt: skip


def _attempt(assumptions: Assumptions, run: SimulatedRun, _: int) -> tuple[timedelta, EndFacts]:
    return assumptions.attempt(run.job.name, run.job.spec, len(run.started))


def _is_limited(job: JobEntry) -> bool:
    return job.spec.concurrency is not None or _remembers(job)


def _remembers(job: JobEntry) -> bool:
    """Whether a firing depends on those before it, also when nothing goes on any more."""
    return job.spec.rate is not None or job.spec.unique is not None


def _repeatable(jobs: Sequence[JobEntry], assumptions: Assumptions) -> bool:
    """Whether the same firing comes to the same each time: nothing fails, so that no back-off draws lots."""
    return not any(
        job.name in assumptions.failing or assumptions.takes(job.name, job.spec)[1] or _remembers(job) for job in jobs
    )
