"""The runs of one simulation: they start at once, take as long as assumed, and settle by the real rules.

What the store does in rows is done here in objects: flows are planned by ``flow.plan_flow``, needs
decided by ``dag.decide``, ends judged by ``retry.judge``, states moved by ``run_state.after``.
"""

from collections import deque
from collections.abc import Callable, Iterable
from datetime import timedelta
from enum import IntEnum
from random import Random
from typing import Protocol
from uuid import UUID

from scheduler.domain.dag import Release
from scheduler.domain.dag import decide as decide_needs
from scheduler.domain.flow import FlowPlan, PlannedRun, WaitingRun, plan_flow
from scheduler.domain.gates import Activity, JobEntry
from scheduler.domain.gates import decide as decide_firing
from scheduler.domain.planned import MICROSECOND
from scheduler.domain.retry import EndFacts, judge
from scheduler.domain.run_state import ACTIVE, FINAL, Move, after
from scheduler.simulation.simulated_run import Fired, FiredAt, FlowBelow, Need, SimulatedRun
from schemas.vocabulary import FiringKind, NeedCondition, Outcome, OverlapPolicy, RunState, Turn, Verdict


class Rank(IntEnum):
    """What comes first of things that happen at one instant: an end makes room for a firing."""

    END = 0
    WAKE = 1
    TICK = 2


At = Callable[[int, Rank, Callable[[int], None]], None]
"""Has something done at an instant."""
Attempt = Callable[[SimulatedRun, int], tuple[timedelta, EndFacts]]
"""Makes the attempt of a run that begins at an instant: how long it takes, and how it ends."""


class Gates(Protocol):
    """What depends on the params of a firing, or holds back a run that is ready."""

    def twin(self, job: JobEntry, at: FiredAt) -> UUID | None: ...

    def planned(self, plan: FlowPlan, at: FiredAt) -> None: ...

    def admits(self, runs: "Runs", run: SimulatedRun, now: int) -> bool:
        """Whether it may start now; else somebody calls ``Runs.begin`` later."""
        ...


class Runs:
    """The runs of the jobs of one lane. Without ``gates`` all that is ready starts."""

    def __init__(self, attempt: Attempt, at: At, gates: Gates | None = None) -> None:
        self._attempt = attempt
        self.at = at
        self._gates = gates
        self._known: dict[UUID, SimulatedRun] = {}
        self._rng = Random(0)  # noqa: S311 - the jitter of back-offs, the same at every simulation
        self._numbers: dict[str, int] = {}
        self._next_id = 0
        self._active: dict[UUID, dict[UUID, SimulatedRun]] = {}
        self._below: dict[UUID, list[SimulatedRun]] = {}
        self._lines: dict[UUID, dict[UUID, SimulatedRun]] = {}
        self._tended: set[UUID] = set()
        self.open: dict[UUID, SimulatedRun] = {}
        """Runs that have not ended."""
        self.made: list[SimulatedRun] = []
        """Every run since somebody took them out."""

    def new_id(self) -> UUID:
        self._next_id += 1
        return UUID(int=self._next_id)

    def count(self, job: str, number: int = 1) -> int:
        """Count ``number`` more runs of ``job``; return the number of the first."""
        first = self._numbers.get(job, 0) + 1
        self._numbers[job] = first + number - 1
        return first

    def activity(self, job: JobEntry) -> Activity:
        active, line = self._active.get(job.id), self._lines.get(job.id)
        return Activity(
            active=len(active) if active else 0,
            oldest=min(active) if active else None,
            last_waiting=max(line) if line else None,
        )

    def waiting(self, jobs: Iterable[JobEntry]) -> dict[UUID, list[WaitingRun]]:
        """Return, by job, the runs that wait for their needs, oldest first."""
        ids = {job.id for job in jobs}
        found: dict[UUID, list[WaitingRun]] = {}
        for run in self.open.values():
            if run.state is RunState.WAITING and run.job.id in ids:
                upstream = {job_id: need.upstream_run for job_id, need in run.needs.items()}
                found.setdefault(run.job.id, []).append(WaitingRun(run.id, run.job.id, upstream))
        return found

    def fire(self, kind: FiringKind, job: JobEntry, flow: FlowBelow, at: FiredAt) -> Fired:
        """Give a firing its verdict, as the Dispatcher does, and start its flow."""
        twin = None if self._gates is None else self._gates.twin(job, at)
        decision = decide_firing(kind, job, self.activity(job), twin)
        reason, run, blocking = decision.reason, None, None
        if decision.blocking_run_id is not None:
            blocking = self._known.get(decision.blocking_run_id) or self.open[decision.blocking_run_id]
            reason = (reason or "").replace(str(decision.blocking_run_id), blocking.name)
        if decision.verdict is Verdict.STARTED:
            many = any(len(below.spec.needs) > 1 for below in flow.downstream)
            waiting = self.waiting(flow.downstream) if many else {}
            plan = plan_flow(job, flow.downstream, waiting, flow.ids, self.new_id)
            plan.runs[0].params = None if at.params is None else dict(at.params)
            if self._gates is not None:
                self._gates.planned(plan, at)
            if decision.waits:
                plan.runs[0].wait(reason)
            run = self.start(plan, at.fires_at, at.now)
        return Fired(decision, reason, run, blocking)

    def start(self, plan: FlowPlan, fired_at: int, now: int) -> SimulatedRun:
        """Take in the runs of the flow of a firing, and start its root."""
        made = [self._made(planned, plan, fired_at) for planned in plan.runs]
        for edge in plan.edges:
            self.open[edge.run_id].needs[edge.upstream_job_id] = Need(None, edge.condition, edge.delay)
        bound = [(e.run_id, e.upstream_job_id, e.upstream_run_id) for e in plan.edges if e.upstream_run_id is not None]
        for run_id, need_id, upstream in (*bound, *plan.binds):
            self.open[run_id].needs[need_id].upstream_run = upstream
            self._below.setdefault(upstream, []).append(self.open[run_id])
        for run in made:
            if run.state in FINAL and run.id in self.open:  # not ended by one before it
                self._finish(run, run.state, now)
        root = made[0]
        if plan.runs[0].turn is Turn.AWAITS:
            self._line_up(root, now)
        elif root.state is RunState.READY:
            self.begin(root, now)
        return root

    def _made(self, planned: PlannedRun, plan: FlowPlan, fired_at: int) -> SimulatedRun:
        job = planned.job
        name = f"{job.name}#{self.count(job.name)}"
        flow = name if planned is plan.runs[0] else self.open[plan.runs[0].id].flow
        run = SimulatedRun(planned.id, name, job, flow, fired_at, planned.state, planned.reason, planned.params)
        self.made.append(run)
        self.open[run.id] = run
        if self._gates is not None and job.spec.unique is not None:
            self._known[run.id] = run
        if run.state in ACTIVE:
            self._active.setdefault(job.id, {})[run.id] = run
        return run

    def begin(self, run: SimulatedRun, now: int) -> None:
        """Offer, claim and run one that is ready, if nothing is in its way."""
        if self._gates is not None and not self._gates.admits(self, run, now):
            return
        self._move(run, Move.OFFER)
        self._move(run, Move.CLAIM)
        run.started.append(now)
        takes, facts = self._attempt(run, now)
        ends_at = now + takes // MICROSECOND
        self.at(ends_at, Rank.END, lambda seen_at: self._end(run, facts, ends_at, seen_at))

    def _end(self, run: SimulatedRun, facts: EndFacts, ended_at: int, seen_at: int) -> None:
        if run.id not in self.open:  # another run has taken its place
            return
        spec, attempt = run.job.spec, len(run.started) - run.snoozes
        run.snoozes += facts.outcome is Outcome.SNOOZED
        decision = judge(facts, attempt=attempt, losses=0, spec=spec.retry, on_lost=spec.on_lost, rng=self._rng)
        if decision.delay is None:
            run.ended_at = ended_at
            run.reason = None if facts.outcome is Outcome.SUCCEEDED else decision.reason
            self._finish(run, after(run.state, decision.move) or run.state, seen_at)
        else:
            self._move(run, decision.move)
            self.at(seen_at + decision.delay // MICROSECOND, Rank.WAKE, lambda now: self._wake(run, now))

    def _wake(self, run: SimulatedRun, now: int) -> None:
        if run.id in self.open:
            self._move(run, Move.WAKE)
            self.begin(run, now)

    def _finish(self, run: SimulatedRun, state: RunState, now: int) -> None:
        """End a run, and all that it brings to an end: the skipped ones downstream."""
        todo = deque([(run, state)])
        passed_on: dict[UUID, JobEntry] = {}
        while todo:
            ended, final = todo.popleft()
            ended.state = final
            ended.ended_at = now if ended.ended_at is None else ended.ended_at
            del self.open[ended.id]
            self._active.get(ended.job.id, {}).pop(ended.id, None)
            self._lines.get(ended.job.id, {}).pop(ended.id, None)
            passed_on[ended.job.id] = ended.job
            held = [run for run in self._below.pop(ended.id, ()) if run.state is RunState.WAITING]
            todo += [(run, run.state) for run in held if self._decide(run, ended, now)]
        for job in passed_on.values():
            self._tend(job, now)

    def _decide(self, run: SimulatedRun, ended: SimulatedRun, now: int) -> bool:
        """Decide the need of ``run`` that waited for ``ended``; True when it is skipped by that."""
        decided = [need for need in run.needs.values() if need.upstream_run == ended.id and need.met is None]
        if not decided:
            return False
        for need in decided:
            need.met = need.condition in {NeedCondition.FINISHED.value, ended.state.value}
            if need.met and need.delay:
                run.release_at = max(run.release_at or 0, now + need.delay // MICROSECOND)
        answers = [need.met for need in run.needs.values()]
        rule = run.job.spec.needs_rule
        release = decide_needs(rule, met=answers.count(True), unmet=answers.count(False), undecided=answers.count(None))
        if release is Release.SKIP:
            run.reason = f"upstream {ended.job.name} {ended.state}"
            self._move(run, Move.SKIP)
            return True
        if release is Release.RELEASE:
            self.at(max(run.release_at or now, now), Rank.WAKE, lambda at: self._release(run, at))
        return False

    def _release(self, run: SimulatedRun, now: int) -> None:
        """Start a run whose needs are met, unless one met later has put it off."""
        if run.state is not RunState.WAITING or now < (run.release_at or 0):
            return
        if run.job.spec.overlap.takes_turns:
            self._line_up(run, now)
        else:
            self._let_go(run, now)

    def _let_go(self, run: SimulatedRun, now: int) -> None:
        self._move(run, Move.RELEASE)
        run.reason = None
        self._active.setdefault(run.job.id, {})[run.id] = run
        self.begin(run, now)

    def _line_up(self, run: SimulatedRun, now: int) -> None:
        """Have a run wait for its turn, which may be at once."""
        self._lines.setdefault(run.job.id, {})[run.id] = run
        self._tend(run.job, now)

    def _tend(self, job: JobEntry, now: int) -> None:
        """Release what may start in the line of a job, ending first what is to be ended for it."""
        line, active = self._lines.get(job.id), self._active.get(job.id, {})
        if not line or job.id in self._tended:
            return
        self._tended.add(job.id)
        most = job.spec.max_running or len(line)
        policy = job.spec.overlap
        if policy in {OverlapPolicy.CANCEL_PREVIOUS, OverlapPolicy.KILL_PREVIOUS}:
            newest = line[max(line)]
            oldest = [active[run_id] for run_id in sorted(active)[: max(0, len(active) - most + 1)]]
            for run in [*(other for other in line.values() if other is not newest), *oldest]:
                run.reason = f"run {newest.name} takes its place (overlap {policy})"
                self._finish(run, RunState.CANCELLED, now)
        for run_id in sorted(line)[: max(0, most - len(self._active.get(job.id, {})))]:
            self._let_go(line.pop(run_id), now)
        self._tended.discard(job.id)

    def _move(self, run: SimulatedRun, move: Move) -> None:
        state = after(run.state, move)
        if state is None:
            raise AssertionError(f"{move} from {run.state} is not in the table")
        run.state = state
