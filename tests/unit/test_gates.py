"""The gate at a firing: verdict, reason and the run in the way, for each overlap policy."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from scheduler.domain.gates import Activity, Decision, JobEntry, decide
from schemas.job_spec import JobSpec
from schemas.vocabulary import FiringKind, OverlapPolicy, Verdict

JOB, OLDEST, LAST = UUID(int=1), UUID(int=2), UUID(int=3)
QUEUEING = [policy for policy in OverlapPolicy if policy.takes_turns]


def entry(overlap: str, *, enabled: bool = True, paused: bool = False, **fields: Any) -> JobEntry:
    spec = JobSpec.model_validate({"run": {"command": ["true"]}, "overlap": overlap, **fields})
    return JobEntry(JOB, "job", 1, enabled, paused, spec)


@pytest.mark.parametrize("policy", OverlapPolicy)
@pytest.mark.parametrize("kind", FiringKind)
def test_without_active_runs_every_policy_starts(policy: OverlapPolicy, kind: FiringKind) -> None:
    assert Decision(Verdict.STARTED) == decide(kind, entry(policy), Activity())


def waits(before: UUID, policy: str) -> Decision:
    return Decision(Verdict.STARTED, f"waits for run {before} (overlap {policy})", before, waits=True)


@pytest.mark.parametrize(
    ("policy", "last_waiting", "decision"),
    [
        ("allow", None, Decision(Verdict.STARTED)),
        ("skip", None, Decision(Verdict.SKIPPED_OVERLAP, f"run {OLDEST} is active", OLDEST)),
        ("queue_one", None, waits(OLDEST, "queue_one")),
        ("queue_one", LAST, Decision(Verdict.SKIPPED_OVERLAP, f"run {LAST} waits for its turn already", LAST)),
        ("queue_all", None, waits(OLDEST, "queue_all")),
        ("queue_all", LAST, waits(LAST, "queue_all")),
        ("cancel_previous", None, waits(OLDEST, "cancel_previous")),
        ("cancel_previous", LAST, waits(OLDEST, "cancel_previous")),
        ("kill_previous", LAST, waits(OLDEST, "kill_previous")),
    ],
)
def test_with_an_active_run_the_policy_decides(policy: str, last_waiting: UUID | None, decision: Decision) -> None:
    assert decision == decide(FiringKind.MANUAL, entry(policy), Activity(1, OLDEST, last_waiting))


@pytest.mark.parametrize("policy", QUEUEING)
def test_nobody_overtakes_a_run_that_waits(policy: OverlapPolicy) -> None:
    decision = decide(FiringKind.TIME, entry(policy, max_running=2), Activity(1, OLDEST, LAST))

    assert decision.waits or decision.verdict is Verdict.SKIPPED_OVERLAP


@pytest.mark.parametrize("policy", [*QUEUEING, OverlapPolicy.SKIP])
def test_below_the_limit_every_policy_starts(policy: OverlapPolicy) -> None:
    assert Decision(Verdict.STARTED) == decide(FiringKind.TIME, entry(policy, max_running=3), Activity(2, OLDEST))


def test_skip_with_a_limit_says_how_many_are_active() -> None:
    decision = decide(FiringKind.TIME, entry("skip", max_running=2), Activity(2, OLDEST))

    assert f"run {OLDEST} is active; 2 are, at most 2 may be" == decision.reason


def test_pause_holds_the_clock_disabled_everything_and_a_deleted_job_is_superseded() -> None:
    paused, disabled = entry("allow", paused=True), entry("allow", enabled=False)

    assert Verdict.PAUSED is decide(FiringKind.TIME, paused, Activity()).verdict
    assert Verdict.STARTED is decide(FiringKind.MANUAL, paused, Activity()).verdict
    assert {Verdict.PAUSED} == {decide(kind, disabled, Activity()).verdict for kind in FiringKind}
    assert Verdict.SUPERSEDED is decide(FiringKind.TIME, None, Activity()).verdict


def test_a_suspended_tenant_starts_by_nothing() -> None:
    job = replace(entry("allow", enabled=False), suspended=True)

    assert {Verdict.TENANT_SUSPENDED} == {decide(kind, job, Activity()).verdict for kind in FiringKind}


@pytest.mark.parametrize(("on_duplicate", "verdict"), [("drop", Verdict.DUPLICATE), ("join", Verdict.JOINED)])
def test_firing_with_the_key_of_a_run_before_it_starts_nothing(on_duplicate: str, verdict: Verdict) -> None:
    unique = {"key": "k", "within": "1h", "on_duplicate": on_duplicate}
    job, twin = entry("skip", unique=unique), UUID(int=7)

    decision = decide(FiringKind.MANUAL, job, Activity(1, OLDEST), twin)

    assert (decision.verdict, decision.blocking_run_id) == (verdict, twin)
    assert decision.joined_run_id == (twin if on_duplicate == "join" else None)
    assert decide(FiringKind.RETRY, job, Activity(), twin).verdict is Verdict.STARTED
