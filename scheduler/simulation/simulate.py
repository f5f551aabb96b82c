"""Simulates definitions over a time: which firings there would be, what would become of them, and the load.

The schedules and policies are those of the running system: build_schedule, firing.plan,
gates.decide, flow.plan_flow, dag.decide, retry.judge; concurrency keys, rates and unique keys hold
as there. What is assumed is in Assumptions; besides,
nobody pauses anything, no executor is lost, and there is always a free slot.
"""

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from scheduler.domain.calendar import Calendar
from scheduler.domain.dag import Graph
from scheduler.simulation.assumptions import Assumptions
from scheduler.simulation.cursors import cursors, entries
from scheduler.simulation.lane import Lane
from scheduler.simulation.lanes import lanes_of
from scheduler.simulation.ledger import Chapter, LedgerRow, RunRow, Stretch, run_row
from scheduler.simulation.pace import Pace
from scheduler.simulation.tally import Tally
from schemas.job_spec import JobSpec


@dataclass(frozen=True, slots=True)
class Simulation:
    """What would happen. Rows are made when they are asked for: a year is millions of them."""

    tally: Tally
    stories: list[list[Chapter | Stretch]]
    """By lane."""

    @property
    def firing_rows(self) -> int:
        """How many rows the ledger has."""
        return sum(len(part.times) if isinstance(part, Stretch) else len(part.rows) for part in self._parts())

    @property
    def run_rows(self) -> int:
        return sum(runs.total() for runs in self.tally.runs.values())

    def _parts(self) -> Iterator[Chapter | Stretch]:
        return (part for story in self.stories for part in story)

    def firings(self) -> Iterator[LedgerRow]:
        """Yield the ledger, by the planned instant."""
        return heapq.merge(*map(_rows, self.stories), key=lambda row: (row.fires_at, row.job))

    def runs(self) -> Iterator[RunRow]:
        """Yield every run, by the planned instant that began its flow."""
        return heapq.merge(*map(_runs, self.stories), key=lambda run: run.fired_at)


def simulate(
    jobs: Mapping[str, JobSpec],
    tenant: str,
    assumptions: Assumptions,
    calendars: Mapping[str, Calendar] | None = None,
) -> Simulation:
    """Work out what ``jobs``, applied to ``tenant`` when the time looked at begins, would do.

    ``calendars`` has those that calendar triggers name, by name or country.

    Takes a few seconds for a year of 300 hourly schedules, 60 µs for each event of what overlaps,
    fails, waits for several roots, or has a rate or a unique key.

    Raises:
        ValueError: there is too much of the latter.
    """
    known = entries(jobs)
    graph = Graph({name: [need.job for need in spec.needs] for name, spec in jobs.items()})
    lanes = [
        [cursor for name in names for cursor in cursors(known[name], tenant, assumptions.since, calendars or {})]
        for names in lanes_of(graph, jobs)
    ]
    pace = Pace([cursor for lane_cursors in lanes for cursor in lane_cursors], assumptions)
    tally = Tally()
    stories = []
    for lane_cursors in filter(None, lanes):
        downstream = {
            cursor.job.name: [known[name] for name in graph.downstream(cursor.job.name)] for cursor in lane_cursors
        }
        lane = Lane(lane_cursors, downstream, assumptions, pace, tally)
        lane.work()
        stories.append(lane.story)
    return Simulation(tally, stories)


def _rows(story: list[Chapter | Stretch]) -> Iterator[LedgerRow]:
    for part in story:
        if isinstance(part, Stretch):
            yield from part.rows()
        else:
            yield from sorted(part.rows, key=lambda row: row.fires_at)


def _runs(story: list[Chapter | Stretch]) -> Iterator[RunRow]:
    for part in story:
        if isinstance(part, Stretch):
            yield from part.runs()
        else:
            yield from map(run_row, sorted(part.runs, key=lambda run: run.fired_at))
