"""The graph of jobs and their needs: cycles, order, what follows, and whether a run may go.

Everything is iterative, so that a chain of thousands is no deeper than a chain of two.
"""

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum

from schemas.vocabulary import NeedsRule


class Graph:
    """Jobs and what they need. A need of a job that is not in the graph is left out."""

    def __init__(self, needs: Mapping[str, Iterable[str]]) -> None:
        """Take for each job the jobs it needs; the order of the jobs is the order of all answers."""
        self.upstream: dict[str, tuple[str, ...]] = {
            job: tuple(dict.fromkeys(name for name in names if name in needs)) for job, names in needs.items()
        }
        self.below: dict[str, list[str]] = {job: [] for job in self.upstream}
        for job, names in self.upstream.items():
            for name in names:
                self.below[name].append(job)

    def order(self) -> list[str]:
        """Return the jobs so that each comes after all it needs; jobs on or behind a cycle are missing."""
        return self._settle({job: len(names) for job, names in self.upstream.items()})

    def cycles(self) -> list[list[str]]:
        """Return one path for each knot of jobs that wait for one another, first job repeated at its end.

        A path follows the flow: ``[a, b, a]`` says that b needs a and a needs b.
        """
        open_needs = {job: len(names) for job, names in self.upstream.items()}
        self._settle(open_needs)
        found = []
        for job in self.upstream:
            while open_needs[job]:
                cycle = self._walk_back(job, open_needs)
                found.append(cycle)
                for name in cycle[:-1]:
                    open_needs[name] = 0
                self._settle(open_needs, start=cycle[:-1])
        return found

    def downstream(self, job: str) -> list[str]:
        """Return all that follows ``job``, itself left out, each after everything it needs among them."""
        reached = self._closure([job], self.below) - {job}
        inner = {
            name: sum(need in reached for need in self.upstream[name]) for name in self.upstream if name in reached
        }
        return self._settle(inner)

    def ancestors(self, job: str) -> set[str]:
        """Return all that ``job`` waits for, directly or not; itself only if it is on a cycle."""
        return self._closure(self.upstream[job], self.upstream)

    def roots_reaching(self, job: str, starts: Collection[str]) -> list[str]:
        """Return which of ``starts`` (jobs that begin flows) lead to ``job``, itself included."""
        above = self.ancestors(job) | {job}
        return [name for name in self.upstream if name in above and name in starts]

    def roots(self, starts: Collection[str]) -> dict[str, tuple[str, ...]]:
        """Return for every job what roots_reaching says, in one pass; a chain shares one tuple."""
        found: dict[str, tuple[str, ...]] = {}
        for job in self.order():
            above = dict.fromkeys(found[name] for name in self.upstream[job])
            if job in starts or len(above) != 1:
                own = (job,) if job in starts else ()
                merged = dict.fromkeys(name for names in above for name in names)
                found[job] = (*merged, *own)
            else:
                found[job] = next(iter(above))
        return found

    def _settle(self, open_needs: dict[str, int], start: Iterable[str] | None = None) -> list[str]:
        """Take jobs whose count is zero (or ``start``), count down what is below, return them in order."""
        free = deque(start if start is not None else [job for job, count in open_needs.items() if not count])
        settled = []
        while free:
            job = free.popleft()
            settled.append(job)
            for name in self.below[job]:
                if open_needs.get(name):
                    open_needs[name] -= 1
                    if not open_needs[name]:
                        free.append(name)
        return settled

    def _walk_back(self, job: str, open_needs: Mapping[str, int]) -> list[str]:
        """Follow open needs until a job comes again. Each job with a count has such a need."""
        place: dict[str, int] = {}
        path: list[str] = []
        while job not in place:
            place[job] = len(path)
            path.append(job)
            job = next(name for name in self.upstream[job] if open_needs[name])
        cycle = path[place[job] :][::-1]
        first = cycle.index(min(cycle))
        return [*cycle[first:], *cycle[:first], cycle[first]]

    @staticmethod
    def _closure(start: Iterable[str], edges: Mapping[str, Iterable[str]]) -> set[str]:
        reached = set(start)
        todo = list(reached)
        while todo:
            for name in edges[todo.pop()]:
                if name not in reached:
                    reached.add(name)
                    todo.append(name)
        return reached


class Release(StrEnum):
    """What becomes of a waiting run."""

    WAITING = "waiting"
    RELEASE = "release"
    SKIP = "skip"


def decide(rule: NeedsRule, *, met: int, unmet: int, undecided: int) -> Release:
    """Return what becomes of a run by how many of its needs are met, can never be met, and are not decided yet.

    A run is skipped as soon as its rule can no longer be met. Without needs it is released.
    Delays are not looked at: they begin when a need is met.
    """
    if not (unmet or undecided) or (rule is NeedsRule.ANY and met):
        return Release.RELEASE
    if unmet and (rule is NeedsRule.ALL or not undecided):
        return Release.SKIP
    return Release.WAITING
