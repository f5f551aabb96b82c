"""What the command line does without a server: help, parsing, printing."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from scheduler.cli.main import command_line, hoisted
from scheduler.cli.output import cell, print_fields, print_output, print_rows
from scheduler.wiring import ACTORS

Cli = Callable[..., tuple[int, str, str]]


def test_options_of_the_whole_command_may_stand_anywhere() -> None:
    given = ["runs", "--data-dir", "d", "--json", "--tenant=t", "--job", "x", "--no-color", "--", "--data-dir", "e"]

    assert hoisted(given) == [
        "--data-dir",
        "d",
        "--tenant=t",
        "--no-color",
        "runs",
        "--json",
        "--job",
        "x",
        "--",
        "--data-dir",
        "e",
    ]


def leaves(command: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    for name, inner in getattr(command, "commands", {}).items():
        yield from leaves(inner, f"{path} {name}".strip())
    if not hasattr(command, "commands"):
        yield path, command


def test_every_command_that_ends_by_itself_takes_json() -> None:
    without = {path for path, command in leaves(command_line()) if not any("--json" in p.opts for p in command.params)}

    assert without == {"up", *(f"start {actor}" for actor in ACTORS)}


def test_help_begins_with_examples(cli: Cli) -> None:
    code, out, _ = cli("trigger", "--help")

    assert code == 0
    assert out.index("Examples:") < out.index("Fire jobs now") < out.index("Options:")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["nonsense"], 2, "nonsense"),
        (["runs", "--state", "dead"], 2, "backing_off"),
        (["pause"], 2, "--all"),
        (["dead", "retry", "--yes"], 2, "give an ID, or --all"),
        (["dead", "discard", "--all", "--job", "a"], 2, "give an ID, or --all"),
        (["dead", "discard", "0192e4a0", "--job", "a"], 2, "no filter"),
        (["dead", "list", "--outcome", "succeeded"], 2, "timed_out"),
        (["trigger", "a", "--params", "[1]"], 2, "JSON object"),
        (["trigger", "a", "--params", '{"a": NaN}'], 2, "NaN"),
        (["trigger", "a", "--params", '{"a": "\\ud800"}'], 2, "--params"),
        (["trigger", "a", "--params", '{"a": "\\u0000"}'], 2, "NUL"),
        (["trigger", "a\udcff"], 2, "UTF-8"),
        (["trigger", "a", "--timeout", "5m"], 2, "--wait"),
        (["next", "0 2 * *"], 2, "4 fields"),
        (["next"], 2, "exactly one"),
        (["next", "* * * * *", "--from", "soon"], 2, "no time"),
        (["next", "* * * * *", "--from", "9999-01-01"], 2, "allowed are 2 to 9989"),
        (["next", "61 * * * *"], 2, "minute field: '61' is out of range; allowed are 0-59"),
        (["next", "0 0 30 2 *"], 2, "never fires"),
        (["next", "0 0 2 * * *"], 2, "6 with `seconds: true`"),
        (["next", "* * * * *", "--timezone", "Europe/Berlni"], 2, "did you mean Europe/Berlin?"),
        (["next", "* * * * *", "--timezone", ""], 2, "timezone: '' is no time zone"),
        (["next", "--trigger", "{calendar: {business_day: 1, country: JPP}}"], 2, "calendar.country: must be"),
        (["next", "--trigger", '{"every": "0s"}'], 2, "every: '0s' is shorter than 100ms"),
        (["next", "--trigger", '{"every": "-5m"}'], 2, "every: -5m is negative"),
        (
            ["next", "--trigger", '{"every": "1h", "timezon": "UTC"}'],
            2,
            'timezon: unknown key; did you mean "timezone"?',
        ),
        (["next", "--trigger", '{"at": "9999-12-31T00:00:00Z"}'], 2, "at[0]: '9999-12-31T00:00:00Z' has a year"),
        (
            [
                "next",
                "--trigger",
                '{"every": "1h", "starts_at": "2027-01-01 00:00", "ends_at": "2026-01-01T00:00:00Z"}',
            ],
            2,
            "ends_at: 2026-01-01T00:00:00+00:00 is earlier",
        ),
        (["next", "--trigger", '{"every": "1h"}', "--seconds"], 2, "go with EXPR"),
        (["next", "--job", "a", "--gap", "skip"], 2, "a stored job has its own"),
        (["jobs"], 69, "scheduler up"),
        (["up", "--code-dir", "nowhere"], 78, "--code-dir nowhere: no such directory"),
        (["start", "ticker"], 78, "DATABASE_URL"),
        (["start", "executor"], 78, "AMQP_URL"),
        (["broker", "check"], 78, "AMQP_URL"),
        (["validate", "nowhere.yaml"], 65, "nowhere.yaml:1:1: file: "),
        (["--config", "nowhere.toml", "config", "show"], 78, "nowhere.toml"),
    ],
)
def test_exit_codes_and_the_line_that_says_why(cli: Cli, arguments: list[str], code: int, says: str) -> None:
    found, out, err = cli(*arguments)

    assert (code, "") == (found, out)
    assert says in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("variable", "allowed"), [("DATABASE_URL", "postgresql://, postgres://"), ("AMQP_URL", "amqp://, amqps://")]
)
def test_an_address_of_another_kind_is_a_wrong_setting(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, variable: str, allowed: str
) -> None:
    monkeypatch.setenv(variable, "foo://me:hunter2hunter2@host/x")

    code, out, err = cli("health")

    assert (code, out) == (78, "")
    assert f"(from {variable}): scheme 'foo', allowed are {allowed}" in err
    assert "hunter2" not in err


def test_with_json_an_error_is_a_problem_object(cli: Cli) -> None:
    code, _, err = cli("jobs", "--json")

    problem = json.loads(err)
    assert (69, "database_unavailable") == (code, problem["title"])
    assert problem["exit_code"] == 69


def test_with_json_a_wrong_command_line_is_one_too(cli: Cli) -> None:
    code, _, err = cli("runs", "--json", "--limit", "none")

    assert (2, "usage") == (code, json.loads(err)["title"])


def test_config_show_says_where_a_value_came_from_and_masks_secrets(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:hunter2hunter2@db/x")
    code, out, _ = cli("config", "show", "--json")

    rows = {row["name"]: row for row in json.loads(out)["settings"]}
    assert code == 0
    assert "hunter2" not in out
    assert (rows["database_url"]["origin"], rows["data_dir"]["origin"]) == ("DATABASE_URL", "SCHEDULER_DATA_DIR")


def test_with_json_each_problem_of_a_file_is_an_object(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("version: 1\njobs:\n  a: {run: {command: [x]}, overlap: perhaps, tiemout: 1m}\n")

    code, _, err = cli("validate", "bad.yaml", "--json")

    first, second = json.loads(err)["errors"]
    assert code == 65
    assert {"file": "bad.yaml", "line": 3, "column": 37, "path": "jobs.a.overlap"}.items() <= first.items()
    assert {"allow", "skip"} <= set(first["allowed"])
    assert "perhaps" in first["message"]
    assert (second["path"], "timeout" in second["allowed"]) == ("jobs.a.tiemout", True)


def test_validate_says_which_jobs_lead_where(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "jobs.yaml").write_text(
        "version: 1\njobs:\n  a: {run: {command: [x]}}\n  b: {run: {command: [x]}, needs: [a]}\n"
    )

    code, out, _ = cli("validate", "jobs.yaml")

    assert (code, out) == (0, "b: reached from a\nvalid: 2 jobs of tenant default\n")


def test_validate_warns_with_the_place_and_exits_0(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "jobs.yaml").write_text(
        'version: 1\njobs:\n  a:\n    run: {command: [x]}\n    triggers: [{cron: "0 0 1 * 1"}]\n'
    )

    code, out, err = cli("validate", "jobs.yaml")
    assert (code, out) == (0, "valid: 1 job of tenant default\n")
    assert err.startswith("warning: jobs.yaml:5:23: jobs.a.triggers[0].cron: day of month and day of week")

    code, out, err = cli("validate", "jobs.yaml", "--json")
    assert (code, err) == (0, "")
    [warning] = json.loads(out)["warnings"]
    assert warning.pop("message").startswith("day of month and day of week are both given")
    where = {"file": "jobs.yaml", "line": 5, "column": 23, "path": "jobs.a.triggers[0].cron"}
    assert where | {"allowed": None} == warning


def test_times_of_a_table_are_local_and_say_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    winter, summer = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC)
    try:
        print_rows([{"at": winter}, {"at": None}], ("at",), empty="")
        uniform = capsys.readouterr().out
        print_rows([{"at": winter}, {"at": summer}], ("at",), empty="")
        mixed = capsys.readouterr().out
        print_fields({"at": summer})
        field = capsys.readouterr().out
    finally:
        monkeypatch.undo()
        time.tzset()

    assert "at (CET)" in uniform
    assert "2026-01-01 01:00:00\n" in uniform.replace(" \n", "\n")
    assert all(text in mixed for text in ("2026-01-01 01:00:00 CET", "2026-07-01 02:00:00 CEST"))
    assert field == "at  2026-07-01 02:00:00 CEST\n"


def test_validate_warns_of_a_rule_of_a_trigger_that_changes_nothing(cli: Cli, tmp_path: Path) -> None:
    """The job's own is a default for all its triggers: there it is meant for the others."""
    (tmp_path / "jobs.yaml").write_text(
        "version: 1\njobs:\n  a:\n    run: {command: [x]}\n    dst: {fold: second}\n"
        '    triggers: [{cron: "*/5 * * * *"}, {cron: "3 * * * *", dst: {gap: run_after}}]\n'
    )

    code, _, err = cli("validate", "jobs.yaml")

    assert (code, err.count("\n")) == (0, 1)
    assert "jobs.yaml:6:64: jobs.a.triggers[1].dst: '3 * * * *' follows the wall clock" in err


def test_output_of_a_job_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_output("one\ttwo\r\n\x1b]0;title\x07three")

    assert capsys.readouterr().out == "one\ttwo\n\\x1b]0;title\\x07three\n"


def test_cells_are_for_people() -> None:
    values = [None, True, 1.5, ["a", "b"], {"at": datetime(2026, 1, 1, tzinfo=UTC)}, "\x1b[31m"]

    assert [cell(value) for value in values] == [
        "",
        "yes",
        "1.50",
        "a, b",
        '{"at": "2026-01-01T00:00:00Z"}',
        "\\x1b[31m",
    ]
