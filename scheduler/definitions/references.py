"""What jobs say of one another: chains, needs, cycles, roots."""

from collections.abc import Iterator, Mapping
from typing import Final

from scheduler.definitions.entries import Entry
from scheduler.definitions.problems import Path, Problem, show_path, suggest
from scheduler.definitions.yaml_source import Document
from scheduler.domain.dag import Graph
from schemas.job_spec import NeedSpec

MAX_SEARCHES: Final = 50
"""So many unknown names are compared with all jobs; each takes a tenth of a second at 10,000."""


class References:
    """The jobs of all files by name, and how they hang together. Chains become needs here."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self.entries = entries
        self._links: dict[tuple[str, str], tuple[Document, Path]] = {}
        """Needs that a chain made, and the element of the chain that made it."""
        self._searches = MAX_SEARCHES

    def add_chains(self, document: Document, chains: Mapping[str, tuple[str, ...]]) -> Iterator[Problem]:
        """Add to each job of a chain the need of the one before it, unless it has one already."""
        for name, jobs in chains.items():
            for index, job in enumerate(jobs):
                path = ("chains", name, index)
                if job not in self.entries:
                    place = document.nearest(path)
                    yield Problem(document.file, place, show_path(path), self._unknown(job))
                elif index and jobs[index - 1] in self.entries:
                    self._add_need(job, jobs[index - 1], (document, path))

    def check_needs(self) -> Iterator[Problem]:
        """Yield a problem for each need of a job that there is not."""
        for entry in self.entries.values():
            for index, need in enumerate(entry.spec.needs if entry.spec else ()):
                if need.job not in self.entries:
                    yield entry.spec_problem(("needs", index, "job"), self._unknown(need.job))

    def check_cycles(self) -> Iterator[Problem]:
        """Yield a problem with its path for each knot of jobs that wait for one another."""
        for cycle in self.graph().cycles():
            upstream, job = cycle[0], cycle[1]
            message = f"a cycle of needs, so none of these can start: {' → '.join(cycle)}"
            if (job, upstream) in self._links:
                document, path = self._links[job, upstream]
                yield Problem(document.file, document.nearest(path), show_path(path), message)
            else:
                entry = self.entries[job]
                needs = entry.spec.needs if entry.spec else ()
                index = next(number for number, need in enumerate(needs) if need.job == upstream)
                yield entry.spec_problem(("needs", index), message)

    def graph(self) -> Graph:
        """Return the graph of the jobs that could be read."""
        return Graph({
            name: [need.job for need in entry.spec.needs] if entry.spec else [] for name, entry in self.entries.items()
        })  # fmt: skip

    def _add_need(self, job: str, upstream: str, link: tuple[Document, Path]) -> None:
        entry = self.entries[job]
        if entry.spec is None or any(need.job == upstream for need in entry.spec.needs):
            return
        entry.spec = entry.spec.model_copy(update={"needs": (*entry.spec.needs, NeedSpec(job=upstream))})
        self._links[job, upstream] = link

    def _unknown(self, job: str) -> str:
        if self._searches == 0:
            return f"there is no job {job}"
        self._searches -= 1
        return f"there is no job {job}; {suggest(job, self.entries)}"
