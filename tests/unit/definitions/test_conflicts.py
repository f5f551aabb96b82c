"""Warnings of firings that get into each other's way."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from scheduler.definitions.conflicts import find_crowds, find_same_instants, limit_of
from scheduler.definitions.load import load
from scheduler.simulation.upcoming import Upcoming
from schemas.job_spec import JobSpec

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
UPCOMING = Upcoming("default", NOW, {})


def job(*triggers: dict[str, Any], **keys: Any) -> JobSpec:
    return JobSpec.model_validate({"run": {"command": ["x"]}, "triggers": triggers, **keys})


def same(spec: JobSpec) -> list[tuple[int, str]]:
    return list(find_same_instants("a", spec, UPCOMING, limit_of([spec])))


def crowds(slots: int = 2, **jobs: JobSpec) -> list[str]:
    return [str(said) for said in find_crowds(jobs, UPCOMING, lambda _pool: slots)]


NIGHTLY, MONDAYS, MONTHLY = {"cron": "0 2 * * *"}, {"cron": "0 2 * * 1"}, {"cron": "0 2 1 * *"}


def test_two_triggers_of_one_job_at_one_instant():
    [(index, said)] = same(job(NIGHTLY, MONDAYS))

    assert 1 == index
    assert (
        "fires at the instants of triggers[0] too: at 2026-03-02T02:00:00Z and 52 times more; "
        "one of the two is skipped_overlap" == said
    )


def test_instants_that_meet_once_in_months_are_found():
    [(_, said)] = same(job(MONDAYS, MONTHLY))

    assert "at 2026-06-01T02:00:00Z and 2 times more" in said


@pytest.mark.parametrize(
    ("keys", "fate"),
    [
        ({"overlap": "allow"}, "the job starts twice"),
        ({"max_running": 3}, "both count against max_running"),
        ({"overlap": "queue_all"}, "overlap queue_all decides between the two"),
    ],
)
def test_what_becomes_of_the_two_depends_on_overlap(keys: dict[str, Any], fate: str):
    assert same(job(NIGHTLY, MONDAYS, **keys))[0][1].endswith(fate)


@pytest.mark.parametrize(
    "spec",
    [
        job(NIGHTLY),
        job(NIGHTLY, {"cron": "1 2 * * *"}),
        job(NIGHTLY, MONDAYS | {"enabled": False}),
        job(NIGHTLY, MONDAYS, enabled=False),
        job(NIGHTLY, {"cron": "0 2 * * *", "timezone": "Asia/Tokyo"}),
    ],
)
def test_what_never_meets_is_not_warned_of(spec: JobSpec):
    assert [] == same(spec)


def test_more_firings_in_a_minute_than_slots():
    jobs = {name: job(NIGHTLY) for name in ("a", "b", "c")}

    [said] = crowds(**jobs)
    assert (
        "pools.default: 3 firings in the minute of 2026-03-02T02:00:00Z, and 2 slots to start them: a, b, c "
        "(6 more such minutes within 7d); the others wait" == said
    )
    assert [] == crowds(3, **jobs)


def test_a_job_needs_no_more_slots_than_it_may_have_runs():
    every_second = {"every": "1s"}

    assert [] == crowds(a=job(every_second), b=job(every_second))
    assert 1 == len(crowds(a=job(every_second, overlap="allow")))


def test_pools_are_counted_one_by_one_and_what_is_disabled_not_at_all():
    assert [] == crowds(a=job(NIGHTLY), b=job(NIGHTLY), c=job(NIGHTLY, pool="big"), d=job(NIGHTLY, enabled=False))


def test_loading_warns_at_the_line_of_the_trigger(tmp_path: Path):
    file = tmp_path / "jobs.yaml"
    file.write_text("version: 1\njobs:\n  a:\n    run: {command: [x]}\n    triggers:\n"
                    "      - cron: 0 2 * * *\n      - cron: 0 2 1 * *\n")  # fmt: skip

    [warning] = load([file], now=NOW).warnings

    assert str(warning).startswith(f"{file}:7:9: jobs.a.triggers[1]: fires at the instants of triggers[0] too")
