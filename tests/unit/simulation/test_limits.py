"""What concurrency keys, rates and unique keys make of a simulation."""

from datetime import timedelta

from tests.unit.simulation.test_simulate import CRON, ledger, run, runs

ALLOW = {"overlap": "allow"}
TWO_AN_HOUR = {"triggers": [{"cron": "0,1 * * * *"}]}


def test_runs_of_two_jobs_with_one_key_wait_for_one_another():
    shared = {"concurrency": {"key": "disk"}, **ALLOW, **CRON}

    found = run({"a": shared, "b": shared}, hours=1, run_time=timedelta(minutes=10))

    assert [("a#1", "succeeded", 0, 10), ("b#1", "succeeded", 10, 20)] == runs(found)


def test_another_key_is_another_place():
    def keyed(disk: str) -> dict[str, object]:
        return {"concurrency": {"key": "disk-{{ params.disk }}"}, "params": {"disk": disk}, **ALLOW, **CRON}

    found = run({"a": keyed("x"), "b": keyed("y")}, hours=1, run_time=timedelta(minutes=10))

    assert [0, 0] == [start for _, _, start, _ in runs(found)]


def test_the_params_of_a_trigger_fill_the_key():
    triggers = [{"cron": "0 * * * *", "id": disk, "params": {"disk": disk}} for disk in ("x", "y")]
    job = {"concurrency": {"key": "{{ params.disk }}"}, "triggers": triggers, **ALLOW}

    found = run({"a": job}, hours=1, run_time=timedelta(minutes=10))

    assert [0, 0] == [start for _, _, start, _ in runs(found)]


def test_a_rate_spreads_the_starts():
    found = run({"a": {"rate": "1/30m", **ALLOW, **TWO_AN_HOUR}}, hours=1)

    assert [0, 30] == [round(start) for _, _, start, _ in runs(found)]


def test_what_waits_for_a_limit_is_in_the_way_of_the_next_firing():
    job = {"concurrency": {"key": "disk"}, "timeout": "2h", **CRON}

    found = run({"a": job, "b": job}, hours=3, run_times={"a": timedelta(minutes=90)})

    assert (1.0, "skipped_overlap", 1) in ledger(found)
    assert ("b#1", "succeeded", 90, 91) in runs(found)


def test_a_firing_with_the_key_of_an_earlier_run_is_a_duplicate():
    found = run({"a": {"unique": {"key": "x", "within": "90m"}, **CRON}}, hours=4)

    assert [(0, "started", 1), (1, "duplicate", 1), (2, "started", 1), (3, "duplicate", 1)] == ledger(found)


def test_a_year_of_a_key_that_nobody_waits_for_is_not_worked_out_one_by_one():
    job = {"concurrency": {"key": "disk"}, **CRON}

    found = run({"a": job}, hours=24 * 365)

    assert found.run_rows == 24 * 365
    assert found.tally.steps < 200


def test_a_key_that_differs_from_run_to_run_may_be_that_of_another_job():
    """Here both are the instant of the firing."""
    job = {"concurrency": {"key": "{{ run.fired_at }}"}, **ALLOW, **CRON}

    found = run({"a": job, "b": job}, hours=1, run_time=timedelta(minutes=10))

    assert [0, 10] == [start for _, _, start, _ in runs(found)]


def test_jobs_of_a_chain_of_keys_hang_together():
    def job(*disks: str) -> dict[str, object]:
        triggers = [{"cron": "0 * * * *", "id": disk, "params": {"disk": disk}} for disk in disks]
        return {"concurrency": {"key": "{{ params.disk }}"}, "triggers": triggers, **ALLOW}

    found = run({"a": job("x"), "b": job("y", "z"), "c": job("x", "y")}, hours=1, run_time=timedelta(minutes=10))

    starts = {name: start for name, _, start, _ in runs(found)}
    assert starts == {"a#1": 0, "b#1": 0, "b#2": 0, "c#1": 10, "c#2": 10}
