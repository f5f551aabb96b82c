"""Numbers that a job's code gives: what is one, and that no other comes through."""

import math
import uuid

import pytest

from scheduler.ports import Ended
from scheduler.sandbox import results
from scheduler.sandbox.handlers import HandlerContext
from scheduler.sandbox.masking import Mask
from scheduler.sandbox.results import metrics_of
from schemas import facts
from schemas.vocabulary import Outcome


@pytest.fixture
def ctx():
    ids = {name: uuid.uuid4() for name in ("run_id", "fence", "flow_id")}
    return HandlerContext(tenant="t", job="j", attempt=1, fired_at=None, results={}, write=lambda _: None, **ids)


def test_the_last_value_of_a_name_counts(ctx):
    assert ctx.metrics is None

    ctx.metric("rows", 3)
    ctx.metric("rows", 4)
    ctx.metric("share", 0.5)

    assert ctx.metrics == {"rows": 4.0, "share": 0.5}


@pytest.mark.parametrize(
    ("name", "value"),
    [("Rows", 1), ("", 1), ("a" * 64, 1), ("a\n", 1), (5, 1), ("a", "1"), ("a", None), ("a", True), ("a", math.nan),
     ("a", math.inf), ("a", -math.inf), ("a", 10**400)],
)  # fmt: skip
def test_what_is_no_metric(ctx, name, value):
    with pytest.raises(ValueError, match="no metric"):
        ctx.metric(name, value)
    assert metrics_of({name: value, "good": 1}) == {"good": 1.0}


def test_there_are_at_most_fifty(ctx):
    for number in range(50):
        ctx.metric(f"m{number}", number)

    ctx.metric("m0", 7)
    with pytest.raises(ValueError, match="at most 50"):
        ctx.metric("one_more", 1)
    assert len(metrics_of({f"m{number}": 1 for number in range(60)})) == 50


@pytest.mark.parametrize("report", [None, [], "x", {}, {"A": 1}])
def test_a_report_without_metrics(report):
    assert metrics_of(report) is None


def test_the_sandbox_and_the_message_agree_on_the_most():
    assert results.MOST_METRICS == facts.MOST_METRICS


def test_a_name_that_tells_a_secret_is_left_out():
    ended = Ended(Outcome.SUCCEEDED, metrics={"hunter22": 1.0, "rows": 2.0})

    assert Mask(["hunter22"]).ended(ended).metrics == {"rows": 2.0}
