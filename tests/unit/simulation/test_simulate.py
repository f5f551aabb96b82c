"""What definitions would do, worked out without a clock, a database or a broker."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from scheduler.domain.calendar import Calendar
from scheduler.domain.calendar_sources import resolve_calendars
from scheduler.simulation.assumptions import ALWAYS, Assumptions
from scheduler.simulation.instants import MINUTE, to_us
from scheduler.simulation.simulate import Simulation, simulate
from scheduler.simulation.tally import Tally
from schemas.calendar_spec import CalendarSpec
from schemas.job_spec import JobSpec

T0 = datetime(2026, 3, 2, tzinfo=UTC)


def at(hours: float) -> datetime:
    return T0 + timedelta(hours=hours)


def run(
    jobs: dict[str, dict[str, Any]], hours: float = 24, calendars: dict[str, Calendar] | None = None, **assumed: Any
) -> Simulation:
    specs = {name: JobSpec.model_validate({"run": {"command": ["x"]}, **job}) for name, job in jobs.items()}
    return simulate(specs, "default", Assumptions(T0, at(hours), **assumed), calendars)


def ledger(simulation: Simulation) -> list[tuple[float, str, int]]:
    """Return hour, verdict and count of each row."""
    return [((row.fires_at - T0) / timedelta(hours=1), row.verdict.value, row.count) for row in simulation.firings()]


def runs(simulation: Simulation) -> list[tuple[str, str, float | None, float | None]]:
    """Return name, state, start and end (minutes) of each run."""

    def minutes(instant: datetime | None) -> float | None:
        return None if instant is None else (instant - T0) / timedelta(minutes=1)

    return [(run.id, run.state.value, minutes(run.started_at), minutes(run.finished_at)) for run in simulation.runs()]


CRON = {"triggers": [{"cron": "0 * * * *"}]}


def test_firings_from_the_beginning_on_and_before_the_end():
    found = run({"a": CRON}, hours=3)

    assert [(0, "started", 1), (1, "started", 1), (2, "started", 1)] == ledger(found)
    assert [("a#1", "succeeded", 0, 1), ("a#2", "succeeded", 60, 61), ("a#3", "succeeded", 120, 121)] == runs(found)


def test_what_max_fires_ends_takes_nothing_of_the_budget_after_an_outage():
    spent = {"triggers": [{"cron": "* * * * *", "max_fires": 2}], "catch_up": {"policy": "all"}, "overlap": "allow"}
    late = {**CRON, "priority": "low"}

    found = run({"spent": spent, "late": late}, hours=2, outages=((at(0.5), at(1.5)),), per_minute=1)

    assert [("late#1", 0), ("late#2", 90), ("spent#1", 0), ("spent#2", 1)] == sorted(
        (name, started) for name, _, started, _ in runs(found)
    )


def test_an_interval_counts_from_the_apply_which_is_the_beginning():
    assert [1, 2] == [hour for hour, _, _ in ledger(run({"a": {"triggers": [{"every": "1h"}]}}, hours=3))]


def test_an_outage_is_caught_up_after_it_as_the_job_says():
    outage = ((at(1.5), at(5.25)),)
    jobs = {policy: CRON | {"catch_up": {"policy": policy, "max": 3}} for policy in ("latest", "all", "none")}

    found = {name: ledger(run({name: job}, hours=7, outages=outage)) for name, job in jobs.items()}

    quiet = [(0, "started", 1), (1, "started", 1)]
    assert [*quiet, (2, "merged", 3), (5, "started", 1), (6, "started", 1)] == found["latest"]
    assert [*quiet, (2, "misfired", 4), (6, "started", 1)] == found["none"]
    assert [*quiet, (2, "merged", 1), (3, "started", 1), (4, "skipped_overlap", 1), (5, "skipped_overlap", 1),
            (6, "started", 1)] == found["all"]  # fmt: skip


def test_what_is_caught_up_says_when_it_was_found():
    rows = list(run({"a": CRON}, hours=3, outages=((at(0.5), at(1.5)),)).firings())

    assert [at(0), at(1.5), at(2)] == [row.planned_at for row in rows]
    assert [at(0), at(1), at(2)] == [row.fires_at for row in rows]


def test_what_was_missed_is_let_go_at_the_pace_the_most_urgent_first():
    jobs = {f"j{n}": CRON for n in range(3)} | {"urgent": CRON | {"priority": "critical"}}

    found = run(jobs, hours=3, outages=((at(0.5), at(1.5)),), per_minute=2)

    late = {row.job: (row.planned_at - at(1.5)).total_seconds() for row in found.firings() if row.fires_at == at(1)}
    assert {"urgent": 0, "j0": 0, "j1": 30, "j2": 60} == late
    assert {"started": 12} == {v.value: n for v, n in sum(found.tally.verdicts.values(), Counter()).items()}


def test_what_is_held_beyond_its_window_misfires():
    short = CRON | {"catch_up": {"window": "30m15s"}}

    found = run({"a": short, "b": short, "c": short}, hours=2, outages=((at(0.5), at(1.5)),), per_minute=2)

    assert ["started", "started", "misfired"] == [row.verdict for row in found.firings() if row.fires_at == at(1)]
    assert any("held by pacing" in (row.reason or "") for row in found.firings())


def test_outages_that_touch_are_one_and_nothing_starts_in_them():
    outages = ((at(1), at(2)), (at(0.5), at(1)))
    found = run({"a": CRON, "b": {"needs": [{"job": "a", "delay": "45m"}]}}, hours=4, outages=outages)

    assert [("a#1", 0), ("b#1", 120)] == [(name, started) for name, _, started, _ in runs(found)][:2]


def test_overlap_is_judged_with_the_runs_that_would_be_active():
    rows = list(run({"a": CRON | {"timeout": "2h"}}, hours=3, run_times={"a": timedelta(minutes=90)}).firings())

    assert ["started", "skipped_overlap", "started"] == [row.verdict for row in rows]
    assert ("run a#1 is active", "a#1") == (rows[1].reason, rows[1].blocking_run)


def test_a_run_that_ends_at_the_instant_of_a_firing_is_not_in_its_way():
    found = run({"a": CRON | {"timeout": "2h"}}, run_time=timedelta(hours=1))

    assert {"started"} == {verdict for _, verdict, _ in ledger(found)}


def overlapping(policy: str, **job: Any) -> Simulation:
    spec = CRON | {"timeout": "9h", "overlap": policy} | job
    return run({"a": spec}, hours=5, run_times={"a": timedelta(minutes=150)})


def test_one_run_or_all_wait_for_their_turn():
    one, every = overlapping("queue_one"), overlapping("queue_all")

    assert ["started", "started", "skipped_overlap", "started", "skipped_overlap"] == [v for _, v, _ in ledger(one)]
    assert [("a#1", "succeeded", 0, 150), ("a#2", "running", 150, None), ("a#3", "waiting", None, None)] == runs(one)
    assert 5 == len(runs(every))
    rows = list(every.firings())
    assert ("waits for run a#1 (overlap queue_all)", "a#1") == (rows[1].reason, rows[1].blocking_run)


@pytest.mark.parametrize("policy", ["cancel_previous", "kill_previous"])
def test_the_newest_run_takes_the_place_of_the_one_before(policy: str):
    found = overlapping(policy)

    assert [("a#1", "cancelled", 0, 60), ("a#2", "cancelled", 60, 120)] == runs(found)[:2]
    assert f"run a#2 takes its place (overlap {policy})" == next(iter(found.runs())).reason


def test_a_run_downstream_waits_for_its_turn_too():
    jobs = {"a": CRON, "b": {"needs": ["a"], "overlap": "queue_all", "timeout": "9h"}}

    found = runs(run(jobs, hours=3, run_times={"b": timedelta(minutes=90)}))

    assert [("b#1", "succeeded", 1, 91), ("b#2", "running", 91, None), ("b#3", "waiting", None, None)] == [
        row for row in found if row[0][0] == "b"
    ]


def test_two_triggers_of_one_job_at_one_instant_overlap():
    twice = {"triggers": [{"cron": "0 * * * *"}, {"cron": "0 */2 * * *"}]}
    found = run({"a": twice}, hours=4)

    assert [(0, "started", 1), (0, "skipped_overlap", 1), (1, "started", 1)] == ledger(found)[:3]
    assert {"started": 4, "skipped_overlap": 2} == {key.value: n for key, n in found.tally.verdicts["a"].items()}


def test_downstream_runs_follow_by_their_needs():
    jobs = {
        "a": CRON,
        "b": {"needs": [{"job": "a", "delay": "5m"}]},
        "c": {"needs": [{"job": "b", "when": "failed"}]},
        "d": {"needs": ["a", "b"], "needs_rule": "all"},
    }

    found = runs(run(jobs, hours=1))

    assert ("b#1", "succeeded", 6, 7) in found
    assert ("c#1", "skipped", None, 7) in found
    assert ("d#1", "succeeded", 7, 8) in found


def test_a_job_of_two_roots_waits_for_both():
    other = {"triggers": [{"cron": "30 * * * *"}]}
    found = runs(run({"a": CRON, "b": other, "c": {"needs": ["a", "b"]}}, hours=2))

    assert [("c#1", "succeeded", 31, 32), ("c#2", "succeeded", 91, 92)] == [row for row in found if row[0][0] == "c"]


def test_what_fails_is_retried_and_then_skips_what_follows():
    jobs = {
        "a": CRON | {"retry": {"attempts": 3, "backoff": "fixed", "initial": "10m", "jitter": 0}},
        "b": {"needs": ["a"]},
    }

    twice = run(jobs, hours=1, failing={"a": 2})
    always = run(jobs, hours=1, failing={"a": ALWAYS})

    assert [("a#1", "succeeded", 0, 23), ("b#1", "succeeded", 23, 24)] == runs(twice)
    assert [("a#1", "failed", 0, 23), ("b#1", "skipped", None, 23)] == runs(always)
    assert {"exit code 1; attempt 3 of 3", "upstream a failed"} == {run.reason for run in always.runs()}


def test_a_run_longer_than_its_hard_limit_times_out():
    found = run({"a": CRON | {"timeout": "10m"}}, hours=1, run_time=timedelta(hours=1))

    assert [("a#1", "failed", 0, 10)] == runs(found)


def test_what_the_schedule_leaves_out_is_a_row_and_starts_nothing():
    gap = {"timezone": "Europe/Berlin", "dst": {"gap": "skip"}, "triggers": [{"cron": "30 2 * * *"}]}
    closed = {"triggers": [{"calendar": {"business_day": "every", "at": "09:00", "calendar": "works"}}]}
    calendars = resolve_calendars({"works": CalendarSpec(closed=[date(2026, 3, 30)])}, [])

    found = run({"gap": gap, "closed": closed}, hours=24 * 30, calendars=calendars)

    assert {"started": 29, "dst_gap": 1} == found.tally.verdicts["gap"]
    assert 30 not in [row.fires_at.day for row in found.firings() if row.job == "closed" and row.run]
    assert found.tally.runs["closed"] == {"succeeded": found.tally.verdicts["closed"]["started"]}


def test_max_fires_ends_a_trigger():
    assert 3 == len(ledger(run({"a": {"triggers": [{"cron": "0 * * * *", "max_fires": 3}]}})))


@pytest.mark.parametrize("job", [{"enabled": False, **CRON}, {"triggers": [{"cron": "0 * * * *", "enabled": False}]}])
def test_what_is_disabled_fires_nothing(job: dict[str, Any]):
    assert [] == ledger(run({"a": job}))


def test_what_still_runs_at_the_end_has_no_end():
    assert [("a#1", "running", 0, None)] == runs(run({"a": CRON}, hours=0.01))


def test_the_load_counts_what_starts_in_each_minute():
    found = run({"a": CRON, "b": CRON, "c": {"needs": ["a"]}}, hours=2)

    first = to_us(T0) // MINUTE
    assert {first: 2, first + 1: 1, first + 60: 2, first + 61: 1} == found.tally.load


def test_too_many_events_are_refused():
    tally = Tally(most_steps=2)
    tally.step()
    tally.step()

    with pytest.raises(ValueError, match="more than 2 events; simulate a shorter time"):
        tally.step()


def test_a_long_chain_is_no_deeper_than_a_short_one():
    jobs: dict[str, dict[str, Any]] = {f"j{n}": {"needs": [f"j{n - 1}"]} for n in range(1, 300)}

    found = run({"j0": CRON} | jobs, hours=1, run_time=timedelta(seconds=1))

    assert 300 == sum(counts.total() for counts in found.tally.runs.values())


@pytest.mark.parametrize(
    ("until", "outages"),
    [(0, ()), (5, ((at(2), at(1)),)), (5, ((at(-1), at(1)),)), (5, ((at(4), at(5)),))],
)
def test_times_that_make_no_sense_are_refused(until: float, outages: tuple[tuple[datetime, datetime], ...]):
    with pytest.raises(ValueError, match=r"must"):
        Assumptions(T0, at(until), outages)
