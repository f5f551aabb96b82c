"""The protocol under every order of steps, and the bugs that the search has to find."""

import pytest

from tests.model.search import search
from tests.model.state import Rules


def explain(report) -> str:
    return "\n".join((str(report.violation), *report.trace))


@pytest.mark.parametrize(
    ("faults", "haste", "cancels"),
    [
        pytest.param(0, 0, 1, id="cancel"),
        pytest.param(0, 1, 1, id="haste and cancel"),
        pytest.param(1, 0, 1, id="one fault and cancel"),
        pytest.param(1, 1, 1, id="one fault, haste and cancel", marks=[pytest.mark.slow, pytest.mark.timeout(300)]),
        pytest.param(2, 0, 1, id="two faults and cancel", marks=[pytest.mark.slow, pytest.mark.timeout(300)]),
    ],
)
def test_no_order_of_steps_breaks_the_protocol(faults, haste, cancels):
    """At most one start per attempt, a settled run stays as it is, and at rest all is settled and advanced."""
    report = search(Rules(), faults=faults, haste=haste, cancels=cancels)

    assert report.violation is None, explain(report)
    assert report.states > 200, "the model does next to nothing: it is broken itself"


@pytest.mark.parametrize(
    ("rule", "faults", "haste", "says"),
    [
        ("claims_fenced", 0, 1, "an attempt is started twice"),
        ("claims_flushed", 1, 0, "an attempt is started twice"),
        ("returns_fenced", 0, 1, "an attempt is started twice"),
        ("ends_fenced", 1, 0, "the end of an older attempt counts"),
        ("owner_checked", 0, 1, "an attempt is started twice"),
        ("claim_id_per_delivery", 0, 1, "an attempt is started twice"),
        ("claim_before_start", 0, 1, "an attempt is started twice"),
        ("new_attempt_after_loss", 1, 0, "an attempt is started twice"),
        ("late_grant_returned", 0, 1, "an attempt is started twice"),
        ("ends_remembered", 0, 1, "an attempt is started twice"),
        ("ends_repeated", 1, 0, "the run is never settled"),
        ("sweep_offers", 1, 0, "the run is never settled"),
        ("sweep_settled", 1, 0, "the DAG is stuck"),
    ],
)
def test_each_rule_is_needed(rule, faults, haste, says):
    """Without it the search finds a run that goes wrong: neither the rule nor the search is idle."""
    report = search(Rules()._replace(**{rule: False}), faults=faults, haste=haste)

    assert report.violation == says
    assert report.trace


def test_every_rule_has_its_planted_bug():
    marks = test_each_rule_is_needed.pytestmark
    assert {case[0] for case in marks[0].args[1]} == set(Rules._fields)
