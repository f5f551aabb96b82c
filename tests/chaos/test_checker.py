"""The checker of the chaos tests is tested itself: each planted fault must turn it red, and a sound world green."""

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.ledger import Entry, Expected, Rows, read, violations

FIRST, SECOND = datetime(2026, 3, 1, 8, 0, tzinfo=UTC), datetime(2026, 3, 1, 8, 1, tzinfo=UTC)
EXPECTED = Expected({"up": [FIRST], "flaky": [SECOND]}, {"up": frozenset({"up", "down"})}, alone=frozenset({"flaky"}))


class World:
    """A sound world of three runs: up, down (which needs up), and flaky, whose first attempt failed."""

    def __init__(self) -> None:
        self.firings = [firing("f1", "up", FIRST, "r1"), firing("f2", "flaky", SECOND, "r3")]
        self.runs = [run("r1", "up", "w1", "f1"), run("r2", "down", "w1", None), run("r3", "flaky", "w2", "f2", 2)]
        self.attempts = [attempt("r1"), attempt("r2"), attempt("r3", 1, "failed"), attempt("r3", 2)]
        self.edges = [{"run_id": "r2", "upstream": "r1", "state": "met"}]
        self.ledger = [
            entry(1, "up", "r1", 1, "start"),
            entry(2, "up", "r1", 1, "finish"),
            entry(3, "down", "r2", 1, "start"),
            entry(4, "down", "r2", 1, "finish"),
            entry(5, "flaky", "r3", 1, "start"),
            entry(6, "flaky", "r3", 2, "start"),
            entry(7, "flaky", "r3", 2, "finish"),
        ]

    def violations(self, expected: Expected = EXPECTED) -> list[str]:
        return violations(Rows(self.firings, self.runs, self.attempts, self.edges), self.ledger, expected)


def firing(name: str, job: str, at: datetime, run_id: str) -> dict[str, object]:
    return {"id": name, "job": job, "kind": "time", "fires_at": at, "count": 1, "verdict": "started",
            "run_id": run_id, "owed": False}  # fmt: skip


def run(name: str, job: str, flow: str, of: str | None, attempts: int = 1) -> dict[str, object]:
    return {"id": name, "job": job, "flow_id": flow, "firing_id": of, "state": "succeeded", "attempt": attempts,
            "owed": False}  # fmt: skip


def attempt(of: str, number: int = 1, outcome: str = "succeeded") -> dict[str, object]:
    return {"run_id": of, "attempt": number, "outcome": outcome, "late": False}


def entry(at: int, job: str, of: str, number: int, event: str) -> Entry:
    return Entry(at, "t", job, "", of, number, event, f"{of} {number}")


def no_row_for_an_instant(world: World) -> None:
    world.firings.pop(0)


def instant_planned_twice(world: World) -> None:
    world.firings.append(firing("f3", "up", FIRST, "r4"))
    world.runs.append(run("r4", "up", "w3", "f3"))


def undecided_firing(world: World) -> None:
    world.firings[0] |= {"verdict": None, "run_id": None, "owed": True}
    world.runs[0]["firing_id"] = None


def firing_with_two_runs(world: World) -> None:
    world.runs.append(run("r4", "up", "w3", "f1"))


def run_of_a_skipped_firing(world: World) -> None:
    world.firings[0] |= {"verdict": "skipped_overlap", "run_id": None}


def run_that_never_ended(world: World) -> None:
    world.runs[0]["state"] = "queued"


def step_still_owed(world: World) -> None:
    world.runs[0]["owed"] = True


def child_never_created(world: World) -> None:
    world.runs.pop(1), world.attempts.pop(1), world.edges.pop(), world.ledger.pop(2), world.ledger.pop(2)


def child_created_twice(world: World) -> None:
    world.runs.append(run("r4", "down", "w1", None))


def double_start(world: World) -> None:
    world.ledger.insert(1, entry(1, "up", "r1", 1, "start"))


def start_without_a_row(world: World) -> None:
    world.ledger.append(entry(9, "up", "r9", 1, "start"))


def start_of_an_attempt_that_is_not_due(world: World) -> None:
    world.ledger.append(entry(9, "up", "r1", 2, "start"))


def second_attempt_before_the_first(world: World) -> None:
    world.ledger[4] = entry(8, "flaky", "r3", 1, "start")


def missing_finish(world: World) -> None:
    world.ledger.pop(1)


def finish_by_another_process(world: World) -> None:
    world.ledger[1] = dataclasses.replace(world.ledger[1], mark="another")


def attempt_after_a_success(world: World) -> None:
    world.attempts[2] = attempt("r3", 1)


def loss_without_a_fault(world: World) -> None:
    world.attempts[2] = attempt("r3", 1, "lost")


def end_without_a_start(world: World) -> None:
    world.ledger.pop(4)


def late_word_on_a_success(world: World) -> None:
    world.attempts[0]["late"] = True


def child_started_before_its_parent_finished(world: World) -> None:
    world.ledger[1] = entry(9, "up", "r1", 1, "finish")


def need_not_decided(world: World) -> None:
    world.edges[0]["state"] = "open"


def start_beside_a_run_of_the_same_job(world: World) -> None:
    world.ledger.insert(6, entry(7, "flaky", "r2", 1, "start"))
    world.ledger.insert(7, entry(8, "flaky", "r3", 2, "finish"))


PLANTED: dict[Callable[[World], None], str] = {
    no_row_for_an_instant: "up at 08:00:00.000000: 0 rows instead of 1",
    instant_planned_twice: "up at 08:00:00.000000: 2 rows instead of 1",
    undecided_firing: "verdict None, owed True",
    firing_with_two_runs: "2 runs under verdict started",
    run_of_a_skipped_firing: "1 runs under verdict skipped_overlap",
    run_that_never_ended: "run r1 of up is queued",
    step_still_owed: "run r1 of up is succeeded and owes something",
    child_never_created: "flow w1 has {'up': 1} instead of ['down', 'up']",
    child_created_twice: "flow w1 has {'up': 1, 'down': 2}",
    double_start: "attempt 1 of up r1 started 2 times",
    start_without_a_row: "attempt 1 of up r9 started and has no row",
    start_of_an_attempt_that_is_not_due: "attempt 2 of up r1 started and has no row",
    second_attempt_before_the_first: "attempt 2 of flaky r3 started before attempt 1",
    missing_finish: "run r1 of up succeeded, attempt 1 succeeded with 0 finishes",
    finish_by_another_process: "attempt 1 of up r1 finished 1 times",
    attempt_after_a_success: "run r3 of flaky has attempt 2 after succeeded",
    loss_without_a_fault: "attempt 1 of r3 was lost without a reason",
    end_without_a_start: "attempt 1 of r3 failed without a start",
    late_word_on_a_success: "attempt 1 of r1 has a late word beside succeeded",
    child_started_before_its_parent_finished: "run r2 of down started before run r1 of up finished",
    start_beside_a_run_of_the_same_job: "run r2 of flaky started beside run r3",
    need_not_decided: "a need of run r2 of down is not decided",
}


def test_a_sound_world_breaks_no_promise() -> None:
    assert [] == World().violations()


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_planted_fault_is_found(plant: Callable[[World], None]) -> None:
    world = World()
    plant(world)

    assert [sentence for sentence in world.violations() if PLANTED[plant] in sentence]


def test_loss_that_a_fault_explains_is_no_violation() -> None:
    world = World()
    loss_without_a_fault(world)

    assert [] == world.violations(dataclasses.replace(EXPECTED, losses=True))


def test_line_that_nobody_should_have_written_is_refused(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    ledger.write_text("v1 17 t up 2026-03-01T08:00:00+00:00 r1 1 start 99 ab\nv1 18 t up 2026 r1 1 paused 99 ab\n")

    with pytest.raises(ValueError, match="paused"):
        read(ledger)
