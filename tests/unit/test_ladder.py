import math

from scheduler.sandbox.ladder import Ladder, Step
from schemas.vocabulary import Outcome
from schemas.work import TimeLimits

START = 100.0


def a_ladder(**limits: float) -> Ladder:
    return Ladder(TimeLimits(**limits), START)


def test_a_hard_timeout_kills_without_asking():
    ladder = a_ladder(hard_s=30)

    assert ladder.due == 130
    assert ladder.step(129.9) is Step.WAIT
    assert ladder.outcome is None
    assert ladder.step(130) is Step.KILL
    assert (ladder.outcome, ladder.reason) == (Outcome.TIMED_OUT, "killed after the hard timeout of 30 s")
    assert ladder.due == math.inf


def test_a_soft_timeout_asks_and_kills_after_the_grace():
    ladder = a_ladder(soft_s=5, grace_s=2, hard_s=30)

    assert (ladder.step(105), ladder.due) == (Step.ASK, 107)
    assert ladder.reason == "asked to stop after the soft timeout of 5 s"
    assert ladder.step(107) is Step.KILL
    assert ladder.reason == "asked to stop after the soft timeout of 5 s, killed after the grace of 2 s"


def test_the_grace_does_not_reach_beyond_the_hard_timeout():
    ladder = a_ladder(soft_s=5, grace_s=100, hard_s=6)

    ladder.step(105)

    assert ladder.due == 106
    assert ladder.step(106) is Step.KILL
    assert ladder.reason == "asked to stop after the soft timeout of 5 s, killed after the hard timeout of 6 s"


def test_a_wish_asks_once_and_is_the_cause():
    ladder = a_ladder(hard_s=30, grace_s=3)

    assert ladder.stop("by ann", 101, at_once=False) is Step.ASK
    assert ladder.stop("by bob", 102, at_once=False) is Step.WAIT
    assert (ladder.outcome, ladder.reason, ladder.due) == (Outcome.CANCELLED, "by ann", 104)
    assert ladder.step(104) is Step.KILL
    assert (ladder.outcome, ladder.reason) == (Outcome.CANCELLED, "by ann, killed after the grace of 3 s")
    assert ladder.said("given up") == "by ann, given up after the grace of 3 s"


def test_a_wish_at_once_kills_even_after_asking():
    ladder = a_ladder(hard_s=30)
    ladder.stop("by ann", 101, at_once=False)

    assert ladder.stop("lease lost", 101, at_once=True) is Step.KILL
    assert (ladder.reason, ladder.due) == ("by ann, killed at once: lease lost", math.inf)


def test_a_wish_at_once_is_the_whole_reason_where_nobody_asked_before():
    ladder = a_ladder(hard_s=30)
    twice = a_ladder(hard_s=30)

    ladder.stop("the executor stops", 101, at_once=True)
    twice.stop("cancelled", 101, at_once=False)
    twice.stop("cancelled", 102, at_once=True)

    assert ladder.reason == "the executor stops"
    assert twice.reason == "cancelled, killed at once"


def test_a_wait_is_never_negative_nor_endless():
    assert a_ladder(hard_s=30).wait_s(200) == 0
    assert a_ladder(hard_s=1e9).wait_s(START) == 3600
