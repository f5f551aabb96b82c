"""Counts what a simulation does: verdicts and runs by job, and the load, attempts started in each minute."""

from collections import Counter
from typing import Final

from scheduler.simulation.instants import MINUTE
from scheduler.simulation.ledger import Chapter, Stretch
from schemas.vocabulary import RunState, Verdict

MOST_STEPS: Final = 5_000_000
"""Events worked out one by one in one simulation: minutes of work, and memory for as many rows."""


class Tally:
    """The counts of all lanes together."""

    def __init__(self, most_steps: int = MOST_STEPS) -> None:
        self._most_steps = most_steps
        self.verdicts: dict[str, Counter[Verdict]] = {}
        """By job."""
        self.runs: dict[str, Counter[RunState]] = {}
        """By job."""
        self.load: Counter[int] = Counter()
        """By minute since 1970."""
        self.steps = 0
        """Events that were worked out one by one."""

    def step(self) -> None:
        """Count one event that is worked out.

        Raises:
            ValueError: there are too many.
        """
        self.steps += 1
        if self.steps > self._most_steps:
            raise ValueError(f"more than {self._most_steps:,} events; simulate a shorter time or fewer jobs")

    def take(self, stretch: Stretch) -> None:
        """Count a stretch of equal firings."""
        count = len(stretch.times)
        self.verdicts.setdefault(stretch.cursor.job.name, Counter())[Verdict.STARTED] += count
        for run in stretch.pattern.runs:
            self.runs.setdefault(run.job, Counter())[run.state] += count
            for offset in run.started:
                self.load.update([(at + offset) // MINUTE for at in stretch.times])

    def take_chapter(self, chapter: Chapter) -> None:
        """Count what was worked out one by one."""
        for row in chapter.rows:
            self.verdicts.setdefault(row.job, Counter())[row.verdict] += row.count
        for run in chapter.runs:
            self.runs.setdefault(run.job.name, Counter())[run.state] += 1
            self.load.update(at // MINUTE for at in run.started)
