"""What follows the end of an attempt."""

from datetime import timedelta
from random import Random

import pytest

from scheduler.domain.retry import MAX_LOSSES, MAX_RETRY_AFTER, Decision, EndFacts, judge
from scheduler.domain.run_state import Move
from schemas.job_spec import RetrySpec
from schemas.vocabulary import Backoff, OnLost, Outcome

FAILED = EndFacts(Outcome.FAILED, exit_code=1)
LOST = EndFacts(Outcome.LOST)


def decide(
    end: EndFacts, spec: RetrySpec, *, attempt: int = 1, losses: int = 0, on_lost: OnLost = OnLost.RERUN
) -> Decision:
    return judge(end, attempt=attempt, losses=losses, spec=spec, on_lost=on_lost, rng=Random(7))


def spec(**fields) -> RetrySpec:
    return RetrySpec(**{"attempts": 3, "jitter": 0.0, **fields})


def test_success_finishes_and_cancellation_cancels_whatever_is_left():
    assert decide(EndFacts(Outcome.SUCCEEDED), spec()).move is Move.FINISH
    assert decide(EndFacts(Outcome.CANCELLED), spec()).move is Move.CANCEL


def test_a_job_without_retry_gives_up_at_its_first_failure():
    assert decide(FAILED, RetrySpec()) == Decision(Move.GIVE_UP, None, "exit code 1; attempt 1 of 1")


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (EndFacts(Outcome.FAILED, reason="ended by SIGSEGV"), "ended by SIGSEGV"),
        (EndFacts(Outcome.FAILED, exception="ValueError", reason="ValueError: no rows"), "ValueError: no rows"),
        (EndFacts(Outcome.TIMED_OUT, reason="timed out after 2s"), "timed out after 2s"),
        (EndFacts(Outcome.OUT_OF_LIMITS, reason="more memory than 1GiB"), "more memory than 1GiB"),
        (EndFacts(Outcome.LOST, reason="the executor stops"), "the attempt was lost"),
        (EndFacts(Outcome.FAILED, exception="ValueError"), "raised ValueError"),
        (EndFacts(Outcome.FAILED), "failed"),
    ],
)
def test_the_cause_is_told_as_the_executor_told_it(end, told):
    decision = decide(end, RetrySpec(), on_lost=OnLost.FAIL)

    assert decision.reason.startswith(f"{told}; ")


def test_attempts_are_counted_with_the_first_one():
    moves = [decide(FAILED, spec(), attempt=n).move for n in (1, 2, 3)]

    assert moves == [Move.RETRY, Move.RETRY, Move.GIVE_UP]


@pytest.mark.parametrize(
    ("backoff", "expected"),
    [
        (Backoff.EXPONENTIAL, [10, 20, 40, 60, 60]),
        (Backoff.LINEAR, [10, 20, 30, 40, 50]),
        (Backoff.FIXED, [10, 10, 10, 10, 10]),
    ],
)
def test_waits_grow_by_the_backoff_up_to_the_cap(backoff, expected):
    rule = spec(attempts=9, backoff=backoff, max=timedelta(seconds=60))

    delays = [decide(FAILED, rule, attempt=n).delay for n in range(1, 6)]

    assert delays == [timedelta(seconds=s) for s in expected]


def test_a_thousand_attempts_do_not_overflow():
    rule = spec(attempts=1000, factor=100.0)
    assert decide(FAILED, rule, attempt=999).delay == timedelta(minutes=10)
    nowait = spec(attempts=1000, factor=100.0, initial=timedelta(0))
    assert decide(FAILED, nowait, attempt=999).delay == timedelta(0)


def test_jitter_spreads_in_both_directions_and_stays_below_the_cap():
    rule = spec(jitter=0.5, max=timedelta(seconds=12))
    rng = Random(1)

    delays = [judge(FAILED, attempt=1, losses=0, spec=rule, on_lost=OnLost.RERUN, rng=rng).delay for _ in range(200)]

    seconds = [delay.total_seconds() for delay in delays if delay is not None]
    assert len(seconds) == 200
    assert 5 <= min(seconds) < 6
    assert max(seconds) == 12


def test_retry_after_is_a_minimum_even_above_the_cap_and_is_itself_bounded():
    def delay(wish: float) -> timedelta | None:
        return decide(EndFacts(Outcome.FAILED, http_status=503, retry_after_s=wish), spec()).delay

    assert delay(3) == timedelta(seconds=10)
    assert delay(3600) == timedelta(hours=1)
    assert delay(1e300) == MAX_RETRY_AFTER


@pytest.mark.parametrize(
    ("end", "named"),
    [
        (EndFacts(Outcome.FAILED, exit_code=75), 75),
        (EndFacts(Outcome.FAILED, http_status=503), 503),
        (EndFacts(Outcome.FAILED, exception="ConnectionError"), "ConnectionError"),
        (
            EndFacts(Outcome.FAILED, exception="ConnectionResetError", exception_bases=("ConnectionError", "OSError")),
            "ConnectionError",
        ),
        (EndFacts(Outcome.FAILED, exception="http.client.RemoteDisconnected"), "RemoteDisconnected"),
        (EndFacts(Outcome.TIMED_OUT), "timeout"),
    ],
)
def test_on_and_not_on_name_codes_statuses_exceptions_and_timeouts(end, named):
    assert decide(end, spec(on=(named,))).move is Move.RETRY
    assert decide(end, spec(on=("Other", 3))).move is Move.GIVE_UP
    assert decide(end, spec(not_on=(named,))).move is Move.GIVE_UP
    assert decide(end, spec(on=(named,), not_on=(named,))).move is Move.GIVE_UP


def test_a_number_is_a_status_only_for_http():
    """Exit code 200 and status 200 are different things, and one end never has both."""
    end = EndFacts(Outcome.FAILED, exit_code=1, http_status=404)

    assert decide(end, spec(on=(1,))).move is Move.GIVE_UP
    assert decide(end, spec(on=(404,))).move is Move.RETRY


def test_exit_code_zero_can_be_named():
    end = EndFacts(Outcome.OUT_OF_LIMITS, exit_code=0)
    assert decide(end, spec(not_on=(0,))).move is Move.GIVE_UP


def test_a_class_name_is_not_matched_by_its_tail():
    end = EndFacts(Outcome.FAILED, exception="MyConnectionError")
    assert decide(end, spec(on=("ConnectionError",))).move is Move.GIVE_UP


def test_a_lost_attempt_runs_again_without_using_up_an_attempt():
    only_once = RetrySpec(attempts=1)

    first = decide(LOST, only_once, attempt=1, losses=1)
    then_failed = decide(FAILED, only_once, attempt=2, losses=1)

    assert (first.move, first.delay) == (Move.RETRY, timedelta(0))
    assert then_failed.move is Move.GIVE_UP


def test_losses_between_failures_leave_all_attempts():
    rule = spec(attempts=2)
    assert decide(FAILED, rule, attempt=3, losses=2).move is Move.RETRY
    assert decide(FAILED, rule, attempt=4, losses=2).move is Move.GIVE_UP


def test_a_job_that_takes_its_executors_with_it_is_given_up():
    moves = [decide(LOST, spec(), attempt=n, losses=n).move for n in range(1, MAX_LOSSES + 1)]

    assert moves == [Move.RETRY] * (MAX_LOSSES - 1) + [Move.GIVE_UP]


def test_later_losses_wait_like_retries():
    delays = [decide(LOST, spec(), attempt=n, losses=n).delay for n in (1, 2, 3)]
    assert delays == [timedelta(0), timedelta(seconds=10), timedelta(seconds=20)]


def test_on_lost_fail_is_final_unless_retry_names_lost():
    assert decide(LOST, spec(), losses=1, on_lost=OnLost.FAIL).move is Move.GIVE_UP
    assert decide(LOST, spec(on=("lost",)), losses=1, on_lost=OnLost.FAIL).move is Move.RETRY
    assert decide(LOST, spec(on=("lost",)), attempt=3, losses=1, on_lost=OnLost.FAIL).move is Move.GIVE_UP


def test_not_on_lost_forbids_the_rerun():
    assert decide(LOST, spec(not_on=("lost",)), losses=1).move is Move.GIVE_UP


def test_on_without_lost_does_not_take_the_rerun_away():
    assert decide(LOST, spec(on=(75,)), losses=1).move is Move.RETRY


@pytest.mark.parametrize(("asked", "wait"), [(None, 1), (0.0, 1), (300.0, 300), (1e9, 7 * 86_400)])
def test_a_snoozed_attempt_comes_again_after_the_wait_it_asked_for(asked, wait):
    only_once = spec(attempts=1, on=[75], not_on=["timeout"])

    decision = decide(EndFacts(Outcome.SNOOZED, retry_after_s=asked), only_once)

    assert (decision.move, decision.delay) == (Move.RETRY, timedelta(seconds=wait))
