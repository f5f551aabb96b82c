"""``scheduler simulate`` as a person and as a program reads it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scheduler.cli.main import main

Cli = Callable[..., tuple[int, str, str]]

JOBS = """
version: 1
jobs:
  dump: {run: {command: [x]}, triggers: [{cron: "0 2 * * *"}]}
  verify: {run: {command: [x]}, needs: [dump]}
  poll: {run: {command: [x]}, triggers: [{cron: "*/30 * * * *"}], catch_up: {policy: none}}
"""
TWO_DAYS = ("--from", "2026-03-01T00:00:00Z", "--to", "2026-03-03T00:00:00Z")
OUTAGE = ("--outage", "2026-03-01T01:50:00Z/2026-03-01T03:31:00Z")


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCHEDULER_DATA_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("TZ", "UTC")
    (tmp_path / "jobs.yaml").write_text(JOBS)

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["simulate", "jobs.yaml", *arguments])
        written = capsys.readouterr()
        return int(ended.value.code or 0), written.out, written.err

    return run


def as_json(cli: Cli, *arguments: str) -> Any:
    code, out, _ = cli(*arguments, "--json")
    assert code == 0
    return json.loads(out)


def test_a_daily_job_is_not_lost_to_an_outage(cli: Cli):
    found = as_json(cli, *TWO_DAYS, *OUTAGE)

    [late, _] = [row for row in found["firings"] if row["job"] == "dump"]
    assert ("started", "2026-03-01T02:00:00Z", "2026-03-01T03:31:00Z") == (
        late["verdict"],
        late["fires_at"],
        late["planned_at"],
    )
    assert {"started": 92, "misfired": 4} == found["jobs"]["poll"]["firings"]
    assert {"firings": {}, "runs": {"succeeded": 2}} == found["jobs"]["verify"]


def test_what_waits_for_events_is_named_and_not_foreseen(cli: Cli):
    alert = """  alert: {run: {command: [x]}, triggers: [{id: a, ended: {job: dump, state: failed}}]}\n"""
    Path("jobs.yaml").write_text(JOBS + alert)

    found = as_json(cli, *TWO_DAYS, "--fail", "dump")
    _, out, _ = cli(*TWO_DAYS)

    assert {"firings": {}, "runs": {}} == found["jobs"]["alert"]
    said = "runs of job dump that end as failed"
    assert [{"job": "alert", "trigger": "a", "waits_for": said}] == found["waits_for"]
    assert f"not foreseen: alert waits for {said}" in out


def test_the_load_is_there_for_each_minute(cli: Cli):
    load = as_json(cli, *TWO_DAYS)["load"]

    assert 96 + 4 == load["starts"] == sum(load["per_minute"].values())
    assert {"minute": "2026-03-01T02:00:00Z", "starts": 2} == load["busiest"][0]
    assert 1 == load["per_minute"]["2026-03-01T02:01:00Z"]


def test_limit_says_what_it_leaves_off(cli: Cli):
    found = as_json(cli, *TWO_DAYS, "--limit", "10")

    assert (10, 88, 10, 90) == (
        len(found["firings"]),
        found["firings_left_off"],
        len(found["runs"]),
        found["runs_left_off"],
    )


def test_runs_that_take_longer_or_fail(cli: Cli):
    found = as_json(cli, *TWO_DAYS, "--duration", "poll=29m", "--fail", "dump")["jobs"]

    assert {"failed": 2} == found["dump"]["runs"]
    assert {"skipped": 2} == found["verify"]["runs"]
    assert {"succeeded": 95, "running": 1} == as_json(cli, *TWO_DAYS, "--run-time", "30m")["jobs"]["poll"]["runs"]


def test_people_see_tables_a_line_per_day_and_the_busiest_minutes(cli: Cli):
    code, out, _ = cli(*TWO_DAYS, "--limit", "5")

    assert code == 0
    assert "93 more firings; --limit shows more" in out
    assert "2026-03-02  ▄▄█▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄  50" in out
    assert "2026-03-03" not in out
    assert "busiest minutes\n2026-03-01T02:00:00Z  2\n" in out


def test_a_short_time_is_shown_by_minute(cli: Cli):
    code, out, _ = cli("--from", "2026-03-01T00:45:00Z", "--to", "2026-03-01T03:45:00Z", "--limit", "0")

    assert code == 0
    lines = [
        "runs started by minute of the hour (UTC); at most 2 in a minute",
        f"2026-03-01 00h  {'·' * 60}  0",
        f"2026-03-01 01h  ▄{'·' * 29}▄{'·' * 29}  2",
        f"2026-03-01 02h  █▄{'·' * 28}▄{'·' * 29}  4",
        f"2026-03-01 03h  ▄{'·' * 29}▄{'·' * 29}  2",
        "busiest minutes",
    ]
    assert "\n".join(lines) in out


def test_a_time_without_starts_is_shown_empty(cli: Cli):
    _, out, _ = cli("--from", "2026-03-01T00:01:00Z", "--to", "2026-03-01T00:02:00Z")

    assert f"at most 0 in a minute\n2026-03-01 00h  {'·' * 60}  0\n" in out


def test_many_days_are_laid_upon_one_another(cli: Cli):
    _, out, _ = cli("--from", "2026-03-01T00:00:00Z", "--to", "2026-04-01T00:00:00Z", "--limit", "0")

    assert "31 days together; at most 124 in an hour\n▄▄█▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄\n" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--from", "soon"], "--from: 'soon' is no time"),
        (["--outage", "2026-03-01T00:00:00Z"], "begin and end"),
        (["--duration", "dmup=1m"], 'did you mean "dump"?'),
        (["--duration", "dump=1"], "has no unit"),
        (["--fail", "dump=x"], "no number"),
        (["--from", "2026-03-02 00:00", "--to", "2026-03-01 00:00"], "--to: 2026-03-01T00:00:00Z is not later"),
        ([*TWO_DAYS, "--outage", "2026-02-01T00:00:00Z/2026-02-02T00:00:00Z"], "must end after it begins, between"),
        ([*TWO_DAYS, "--outage", "2026-03-01T04:00:00Z/2026-03-01T02:00:00Z"], "--outage: 2026-03-01T04:00:00Z/"),
    ],
)
def test_a_wrong_command_line_is_one_line(cli: Cli, arguments: list[str], says: str):
    code, out, err = cli(*arguments)

    assert (2, "", 1) == (code, out, err.count("\n"))
    assert says in err


def test_day_alone_is_its_beginning(cli: Cli) -> None:
    assert cli("--from", "2026-03-07", "--to", "2026-03-08", "--json") == cli(
        "--from", "2026-03-07T00:00:00Z", "--to", "2026-03-08T00:00:00Z", "--json"
    )
