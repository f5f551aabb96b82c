"""What a job may say, as models and as JSON."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from schemas.durations import Interval
from schemas.job_spec import AtTrigger, CronTrigger, EveryTrigger, JobSpec
from schemas.vocabulary import Backoff, CatchUpPolicy, NeedsRule, OnLost, OverlapPolicy, Priority, TriggerKind

FULL = {
    "description": "all keys",
    "run": {"http": {"url": "https://example.com/{{ params.x }}", "headers": {"X-N": 1}, "json": {"a": [1, None]}}},
    "params": {"x": 1.5, "deep": {"y": [True]}},
    "triggers": [
        {"cron": "0  2 * * *", "id": "nightly", "timezone": "UTC", "day_match": "all", "params": {"x": 2}},
        {"cron": "0 0 2 * * *", "seconds": True, "max_fires": 3, "enabled": False},
        {"every": "1 month", "anchor": "2026-01-31T10:00:00+09:00", "starts_at": "2026-02-01 00:00"},
        {"at": "2026-12-24T18:00:00Z", "ends_at": "2027-01-01T00:00:00Z"},
        {"at": ["2026-12-24 18:00", "2026-12-25T18:00:00.5"], "catch_up": {"policy": "all", "window": "1h", "max": 2}},
    ],
    "needs": ["a", {"job": "b", "when": "finished", "delay": "PT5M"}],
    "needs_rule": "any",
    "timezone": "Asia/Tokyo",
    "catch_up": {"policy": "none"},
    "overlap": "allow",
    "priority": "critical",
    "pool": "gpu",
    "timeout": {"soft": "1m", "hard": "2m", "queue": "1h", "grace": "1s"},
    "retry": {"attempts": 5, "backoff": "fixed", "initial": "1s", "factor": 1, "max": "1m", "jitter": 0,
              "on": [1, "timeout", "lost", "OSError"], "not_on": [404, "my.Error"]},
    "on_lost": "fail",
    "isolation": "inline",
    "env": {"A": "x", "N": 5},
    "secrets": {"S": {"env": "TOKEN"}, "F": {"file": "/run/secrets/f"}},
    "cwd": "work",
    "enabled": False,
    "tags": ["x", "y"],
    "owner": "ops",
}  # fmt: skip


def test_defaults_are_those_of_the_manual():
    spec = JobSpec.model_validate({"run": {"command": ["true"]}})
    assert spec.run.kind == "command"
    assert (spec.timezone, spec.pool, spec.priority, spec.enabled) == ("UTC", "default", Priority.NORMAL, True)
    assert (spec.overlap, spec.max_running) == (OverlapPolicy.SKIP, 1)
    assert (spec.needs_rule, spec.on_lost, spec.isolation) == (NeedsRule.ALL, OnLost.RERUN, None)
    assert (spec.catch_up.policy, spec.catch_up.window, spec.catch_up.max) == (
        CatchUpPolicy.LATEST,
        timedelta(days=7),
        100,
    )
    assert (spec.timeout.soft, spec.timeout.hard, spec.timeout.queue) == (None, timedelta(minutes=30), None)
    assert (spec.retry.attempts, spec.retry.backoff, spec.retry.factor, spec.retry.jitter) == (
        1,
        Backoff.EXPONENTIAL,
        2.0,
        0.1,
    )
    assert (spec.retry.initial, spec.retry.max) == (timedelta(seconds=10), timedelta(minutes=10))


@pytest.mark.parametrize("exclude_defaults", [True, False])
@pytest.mark.parametrize(
    "written",
    [
        FULL,
        {"run": {"command": ["sleep", 5]}, "timeout": "5m", "max_running": 3},
        {"run": {"script": {"text": "a\nb\n", "interpreter": "bash"}}},
        {"run": {"script": {"file": "./x.sh"}}},
        {"run": {"python": "pkg.mod:Class.method"}},
        {"run": {"handler": "cleanup"}, "isolation": "thread"},
        {
            "run": {"command": ["true"]},
            "resources": {"cpu": "50%", "memory": "512MiB", "pids": 9, "file_size": "1 GB", "io": "idle"},
        },
        {"run": {"handler": "x"}, "isolation": "sandbox", "resources": {"network": "host"}, "max_runs_per_process": 5},
    ],
)
def test_a_job_survives_json(written, exclude_defaults):
    spec = JobSpec.model_validate(written)
    stored = json.loads(json.dumps(spec.model_dump(mode="json", exclude_defaults=exclude_defaults)))
    assert JobSpec.model_validate(stored) == spec


def test_stored_json_has_canonical_texts():
    row = JobSpec.model_validate(FULL).model_dump(mode="json")
    assert row["needs"][1]["delay"] == "5m"
    assert row["timeout"] == {"soft": "1m", "hard": "2m", "queue": "1h", "grace": "1s"}
    assert list(row["run"]) == ["http"]
    assert row["triggers"][0]["cron"] == "0 2 * * *"
    assert row["triggers"][2]["every"] == "1 month"
    assert row["triggers"][3]["at"] == ["2026-12-24T18:00:00Z"]
    assert row["env"] == {"A": "x", "N": "5"}


def test_triggers_are_of_their_kind():
    cron, _, every, at, wall = JobSpec.model_validate(FULL).triggers
    assert isinstance(cron, CronTrigger)
    assert isinstance(every, EveryTrigger)
    assert isinstance(at, AtTrigger)
    assert isinstance(wall, AtTrigger)
    assert (cron.kind, every.kind, at.kind) == (TriggerKind.CRON, TriggerKind.EVERY, TriggerKind.AT)
    assert every.every == Interval(months=1)
    assert at.at == (datetime(2026, 12, 24, 18, tzinfo=UTC),)
    assert wall.at[0] == datetime(2026, 12, 24, 18)  # noqa: DTZ001 - a wall time


def test_a_key_is_the_id_or_follows_from_the_times_alone():
    def key(**fields):
        return CronTrigger(cron="0 2 * * *", **fields).key

    assert key(id="nightly") == "nightly"
    assert key() == CronTrigger(cron=" 0 2  * * *").key == "cron-e8e796a7a41d"
    assert key() == key(params={"x": 1}, max_fires=3, enabled=False, starts_at="2026-01-01T00:00:00Z")
    assert len({key(), key(timezone="UTC"), key(day_match="all"), CronTrigger(cron="1 2 * * *").key}) == 4


@pytest.mark.parametrize(
    "wrong",
    [
        {"overlap": "allow", "max_running": 2},
        {"max_running": 0},
        {"max_running": None},
        {"needs": ["a", "a"]},
        {"triggers": [{"every": "5s"}, {"every": "5000ms"}]},
        {"env": {"A": "x"}, "secrets": {"A": {"env": "B"}}},
        {"isolation": "inline"},
        {"isolation": "sandbox", "run": {"http": {"url": "https://example.com"}}},
        {"resources": {"network": "none"}},
        {"timeout": {"hard": "0s"}},
        {"timeout": {"soft": "31m"}},
        {"retry": {"on": [True]}},
        {"retry": {"factor": "2"}},
        {"enabled": "true"},
        {"run": {"handler": "h"}, "resources": {"cpu": 1}},
        {"env": {"A": "x\0"}},
        {"params": {"a": [float("nan")]}},
        {"params": {"a": {"b\0": 1}}},
        {"params": {"a": "\ud800"}},
        {"params": {"a": {1: 2}}},
        {"params": {"a": object()}},
        {"unknown": 1},
    ],
)
def test_what_does_not_fit_is_refused(wrong):
    with pytest.raises(ValidationError):
        JobSpec.model_validate({"run": {"command": ["true"]}, **wrong})


def test_a_job_cannot_be_changed():
    spec = JobSpec.model_validate({"run": {"command": ["true"]}})
    with pytest.raises(ValidationError, match="frozen"):
        spec.pool = "other"
