"""The graph of jobs, and when a waiting run may go."""

import pytest

from scheduler.domain.dag import Graph, Need, Release, decide, meets
from scheduler.domain.run_state import FINAL
from schemas.vocabulary import NeedCondition, NeedsRule, RunState

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


@pytest.mark.parametrize("state", RunState)
def test_a_condition_is_met_by_its_end_and_finished_by_any(state):
    assert meets(NeedCondition.FINISHED, state) == (state in FINAL)
    for condition in (NeedCondition.SUCCEEDED, NeedCondition.FAILED, NeedCondition.SKIPPED):
        assert meets(condition, state) == (state.value == condition.value)


def need(ended, when=NeedCondition.SUCCEEDED, job="up"):
    return Need(job, when, ended)


OPEN, MET, UNMET = need(None), need(RunState.SUCCEEDED), need(RunState.FAILED)


@pytest.mark.parametrize(
    ("rule", "needs", "release"),
    [
        (NeedsRule.ALL, [], Release.RELEASE),
        (NeedsRule.ANY, [], Release.RELEASE),
        (NeedsRule.ALL, [MET, MET], Release.RELEASE),
        (NeedsRule.ALL, [MET, OPEN], Release.WAITING),
        (NeedsRule.ALL, [OPEN, UNMET], Release.SKIP),
        (NeedsRule.ALL, [MET, UNMET], Release.SKIP),
        (NeedsRule.ANY, [MET, OPEN], Release.RELEASE),
        (NeedsRule.ANY, [UNMET, OPEN], Release.WAITING),
        (NeedsRule.ANY, [UNMET, MET], Release.RELEASE),
        (NeedsRule.ANY, [UNMET, UNMET], Release.SKIP),
    ],
)
def test_the_rule_decides(rule, needs, release):
    assert decide(rule, needs)[0] is release


def test_the_reason_names_who_ended_how():
    needs = [need(RunState.FAILED, job="dump"), need(None, job="copy")]
    assert decide(NeedsRule.ALL, needs) == (Release.SKIP, "dump ended failed, wanted succeeded")
    assert decide(NeedsRule.ANY, needs) == (Release.WAITING, "waits for copy")
