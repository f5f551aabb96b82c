"""Which jobs have an influence on one another: by needs, or by a ``concurrency`` key that both may have."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final
from uuid import UUID

from scheduler.domain.dag import Graph
from scheduler.domain.limits import limit_of
from scheduler.domain.template_errors import TemplateError
from schemas.job_spec import JobSpec

_RUNS: Final = tuple((UUID(int=n), datetime(2000 + n, n, n, n, tzinfo=UTC)) for n in (1, 2))
"""Two runs that have no fact in common: what differs between them differs from run to run."""


def lanes_of(graph: Graph, jobs: Mapping[str, JobSpec]) -> Iterator[list[str]]:
    """Yield the jobs that hang together, in the order of their names in the graph."""
    sharing = _sharing(jobs)
    seen: set[str] = set()
    for first in graph.upstream:
        if first in seen:
            continue
        lane, todo = {first}, [first]
        while todo:
            job = todo.pop()
            for other in (*graph.upstream[job], *graph.below[job], *sharing.pop(job, ())):
                if other not in lane:
                    lane.add(other)
                    todo.append(other)
        seen |= lane
        yield [name for name in graph.upstream if name in lane] if len(lane) > 1 else [first]


def _sharing(jobs: Mapping[str, JobSpec]) -> dict[str, list[str]]:
    """Return, by job, one or two others of its key; from one to the next they lead to all of that key."""
    keyed = {name: _keys(name, spec) for name, spec in jobs.items() if spec.concurrency is not None}
    if None in keyed.values():
        lines = [list(keyed)]
    else:
        by_key: dict[str, list[str]] = {}
        for name, keys in keyed.items():
            for key in keys or ():
                by_key.setdefault(key, []).append(name)
        lines = list(by_key.values())
    found: dict[str, list[str]] = {}
    for line in lines:
        for one, other in pairwise(line):
            found.setdefault(one, []).append(other)
            found.setdefault(other, []).append(one)
    return found


def _keys(name: str, spec: JobSpec) -> set[str] | None:
    """Return the keys that runs of a job may have; None: each run may have another."""
    found: set[str] = set()
    for params in ({}, *(trigger.params for trigger in spec.triggers)):
        if "{{" in json.dumps(params):
            return None
        try:
            keys = {limit_of(spec, job=name, run_id=run, fired_at=at, params=params) for run, at in _RUNS}
        except TemplateError:  # such a run fails, and takes no place
            continue
        if len(keys) > 1:
            return None
        found |= {limit.key for limit in keys if limit is not None}
    return found
