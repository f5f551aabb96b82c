"""Graph against the slow and obvious way."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from scheduler.domain.dag import Graph

JOBS = [f"j{i}" for i in range(8)]
graphs = st.fixed_dictionaries({job: st.lists(st.sampled_from(JOBS), max_size=3, unique=True) for job in JOBS})


def above(needs, job):
    """All that job waits for, by repetition until nothing is added."""
    found = set(needs[job])
    while True:
        more = found | {name for item in found for name in needs[item]}
        if more == found:
            return found
        found = more


@given(graphs)
def test_every_knot_is_found_and_every_path_is_real(needs):
    cycles = Graph(needs).cycles()

    assert bool(cycles) == any(job in above(needs, job) for job in JOBS)
    for cycle in cycles:
        assert cycle[0] == cycle[-1]
        assert len(set(cycle)) == len(cycle) - 1
        assert all(upstream in needs[job] for upstream, job in pairwise(cycle))
    seen = {job for cycle in cycles for job in cycle}
    rest = {job: [name for name in names if name not in seen] for job, names in needs.items() if job not in seen}
    assert not any(job in above(rest, job) for job in rest)


@given(graphs)
def test_closures_and_order(needs):
    acyclic = {job: [name for name in names if name < job] for job, names in needs.items()}
    graph = Graph(acyclic)

    order = graph.order()
    assert sorted(order) == JOBS
    assert all(order.index(name) < order.index(job) for job in JOBS for name in acyclic[job])
    for job in JOBS:
        below = graph.downstream(job)
        assert set(below) == {name for name in JOBS if job in above(acyclic, name)}
        assert len(below) == len(set(below))
        assert all(below.index(name) < below.index(item) for item in below for name in acyclic[item] if name in below)
        starts = JOBS[::2]
        assert set(graph.roots(starts)[job]) == set(graph.roots_reaching(job, starts))
        assert set(graph.roots_reaching(job, starts)) == (above(acyclic, job) | {job}) & set(starts)
