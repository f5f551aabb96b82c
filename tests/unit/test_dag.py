"""The graph of jobs, and when a waiting run may go."""

import pytest

from scheduler.domain.dag import Graph, Release, decide
from schemas.vocabulary import NeedsRule

DIAMOND = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"], "x": [], "e": ["d", "x"]}


def test_order_puts_each_job_after_its_needs():
    assert Graph(DIAMOND).order() == ["a", "x", "b", "c", "d", "e"]


def test_downstream_is_ordered_and_leaves_the_job_and_other_branches_out():
    graph = Graph(DIAMOND)
    assert graph.downstream("a") == ["b", "c", "d", "e"]
    assert graph.downstream("x") == ["e"]
    assert graph.downstream("e") == []


def test_roots_reaching():
    graph = Graph(DIAMOND)
    assert graph.roots_reaching("e", {"a", "x", "c"}) == ["a", "c", "x"]
    assert graph.roots_reaching("b", {"a", "x", "c"}) == ["a"]
    assert graph.roots_reaching("c", {"a", "x", "c"}) == ["a", "c"]


@pytest.mark.parametrize(
    ("needs", "cycles"),
    [
        ({"a": ["a"]}, [["a", "a"]]),
        ({"a": ["b"], "b": ["a"]}, [["a", "b", "a"]]),
        ({"c": ["b"], "b": ["a"], "a": ["c"], "d": ["c"]}, [["a", "b", "c", "a"]]),
        ({"a": ["b"], "b": ["a"], "c": ["d"], "d": ["c"], "e": ["a", "c"]}, [["a", "b", "a"], ["c", "d", "c"]]),
        (DIAMOND, []),
        ({"a": ["gone"]}, []),
    ],
)
def test_cycles_are_named_along_the_flow(needs, cycles):
    assert Graph(needs).cycles() == cycles


def test_a_long_chain_is_no_deeper_than_a_short_one():
    chain = {f"j{i}": [f"j{i - 1}"] if i else [] for i in range(3000)}
    graph = Graph(chain)
    assert graph.downstream("j0") == list(chain)[1:]
    assert graph.roots_reaching("j2999", {"j0"}) == ["j0"]
    assert graph.cycles() == []
    chain["j0"] = ["j2999"]
    assert len(Graph(chain).cycles()[0]) == 3001


@pytest.mark.parametrize(
    ("rule", "met", "unmet", "undecided", "release"),
    [
        (NeedsRule.ALL, 0, 0, 0, Release.RELEASE),
        (NeedsRule.ANY, 0, 0, 0, Release.RELEASE),
        (NeedsRule.ALL, 2, 0, 0, Release.RELEASE),
        (NeedsRule.ALL, 1, 0, 1, Release.WAITING),
        (NeedsRule.ALL, 0, 1, 1, Release.SKIP),
        (NeedsRule.ALL, 1, 1, 0, Release.SKIP),
        (NeedsRule.ANY, 1, 0, 1, Release.RELEASE),
        (NeedsRule.ANY, 0, 1, 1, Release.WAITING),
        (NeedsRule.ANY, 1, 1, 0, Release.RELEASE),
        (NeedsRule.ANY, 0, 2, 0, Release.SKIP),
    ],
)
def test_the_rule_decides(rule, met, unmet, undecided, release):
    assert decide(rule, met=met, unmet=unmet, undecided=undecided) is release
