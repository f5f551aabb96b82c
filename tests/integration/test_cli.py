"""The commands against a running scheduler, as a person or a script uses them."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import yaml

from tests.support.cli import Cli, running_up, until

pytestmark = pytest.mark.timeout(240)  # dozens of processes, on machines that do other things too

JOBS = """
version: 1
source: test
jobs:
  hello:
    run: {command: [sh, -c, "echo hello; printf 'a\\\\033[31mb\\\\n'"]}
    resources: {memory: 64MiB, cpu: 2}
  after:
    run: {command: [cat, /dev/null]}
    needs: [hello]
  fails:
    run: {command: [sh, -c, "echo sorry; exit 1"]}
    overlap: queue_all
  long:
    run: {command: [sleep, "60"]}
    timeout: {hard: 1m, grace: 1s}
  clock:
    run: {command: ["true"]}
    triggers: [{id: yearly, cron: "0 0 1 1 *"}]
  past:
    run: {command: ["true"]}
    triggers: [{cron: "0 0 1 1 *"}]
"""


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """A `scheduler up` with JOBS on a data directory that the commands find by themselves."""
    with running_up(tmp_path_factory.mktemp("up"), JOBS) as cli:
        yield cli


@pytest.mark.slow
def test_trigger_waits_for_its_run_and_tells_its_end(cli: Cli) -> None:
    found = cli.json("trigger", "hello", "--wait")["firings"][0]
    shown = cli.json("run", "show", found["run"])

    assert ("started", "succeeded") == (found["verdict"], found["state"])
    (attempt,) = shown["attempts"]
    assert attempt["exit_code"] == 0
    assert 0 < attempt["cpu_s"] < 5
    assert attempt["peak_memory_bytes"] > 64 * 1024
    assert attempt["limited_by"] in {"cgroup2", "cgroup1", "sampling"}
    assert all(word in cli("run", "show", found["run"]) for word in ("cpu percent", "peak memory", "iB"))
    assert cli("run", "logs", found["run"]) == "hello\na\\x1b[31mb\n"
    until(lambda: cli.json("runs", "--job", "after", "--state", "succeeded")["runs"], "the run downstream")


@pytest.mark.slow
def test_a_failed_run_is_dead_until_it_is_retried_or_discarded(cli: Cli) -> None:
    run = cli.json("trigger", "fails", "--wait", code=1)["firings"][0]["run"]
    assert run in [row["id"] for row in cli.json("dead", "list")["dead_runs"]]

    cli("dead", "retry", run)
    retried = until(lambda: cli.json("run", "show", run)["retried_by"], "the new run")
    cli("dead", "retry", run, code=4)
    until(lambda: cli.json("run", "show", retried)["state"] == "failed", "the end of the new run")
    cli("dead", "discard", retried)

    assert cli.json("run", "show", retried)["retry_of"] == run
    assert [row["id"] for row in cli.json("dead", "list")["dead_runs"]] == []
    cli("dead", "discard", retried, code=4)


@pytest.mark.slow
def test_dead_runs_are_dealt_with_in_bulk_and_shown_with_what_they_wrote(cli: Cli) -> None:
    for _ in range(2):
        cli("trigger", "fails", "--wait", code=1)
    run = cli.json("dead", "list", "--job", "fails", "--outcome", "failed", "--since", "1h")["dead_runs"][0]["id"]

    assert "--- attempt 1: failed\nsorry\n" in cli("dead", "show", run)
    assert cli.json("dead", "list", "--reason", "EXIT CODE 1; attempt")["dead_runs"][0]["id"] == run
    assert "2 dead runs would be retried" in cli("dead", "retry", "--job", "fails", code=2)
    asked = cli.json("dead", "retry", "--job", "fails", "--params", '{"n": 2}', "--yes")
    assert asked == {"found": 2, "retried": 2}
    until(lambda: [row for row in cli.json("dead", "list")["dead_runs"] if row["id"] > run][1:], "the new runs")
    again = cli.json("run", "show", cli.json("dead", "list")["dead_runs"][0]["id"])
    assert (again["params"], again["retry_of"] is None) == ({"n": 2}, False)
    assert cli("dead", "discard", "--all", "--yes") == "2 of 2 dead runs discarded\n"
    assert cli("dead", "discard", "--all") == "0 of 0 dead runs discarded\n"


@pytest.mark.slow
def test_cancel_ends_what_runs(cli: Cli) -> None:
    cli("trigger", "long")
    run = until(lambda: cli.json("runs", "--job", "long", "--state", "running")["runs"], "the run")[0]["id"]

    cli("trigger", "long", "--wait", code=4)  # overlap: skip
    cli("run", "cancel", run, "--reason", "not needed")
    ended = until(lambda: (row := cli.json("run", "show", run))["finished_at"] and row, "the end")

    assert ended["state"] == "cancelled"
    cli("run", "cancel", run, code=4)
    assert "is cancelled" in cli("run", "cancel", run, code=4)


@pytest.mark.slow
def test_many_are_cancelled_by_filter_and_by_flow(cli: Cli) -> None:
    cli("trigger", "long")
    run = until(lambda: cli.json("runs", "--job", "long", "--state", "running")["runs"], "the run")[0]["id"]

    assert "1 runs would be cancelled: say --yes" in cli("run", "cancel", "--job", "long", code=2)
    assert "give an ID, or --all" in cli("run", "cancel", code=2)
    assert "an ID goes with no filter" in cli("run", "cancel", run, "--job", "long", code=2)
    assert "'failed' is none of" in cli("run", "cancel", "--state", "failed", code=2)
    assert cli("run", "cancel", "--pool", "none", "--yes") == "0 of 0 runs cancelled\n"
    assert cli.json("run", "cancel", "--flow", run[:30], "--yes") == {"found": 1, "cancelled": 0, "asked": 1}
    until(lambda: cli.json("run", "show", run)["state"] == "cancelled", "the end")
    assert cli("run", "cancel", "--job", "long", "--state", "running", "--yes") == "0 of 0 runs cancelled\n"


@pytest.mark.slow
def test_a_backfill_runs_planned_instants_of_the_past_once(cli: Cli) -> None:
    wanted = ("backfill", "past", "--from", "2024-01-01", "--to", "2026-01-01")

    planned = cli.json(*wanted, "--dry-run")
    done = cli.json(*wanted, "--max-parallel", "2", "--wait")

    days = [f"{year}-01-01T00:00:00Z" for year in (2024, 2025, 2026)]
    assert (days, None) == ([instant["fires_at"] for instant in planned["instants"]], planned["backfill"])
    assert ("finished", {"succeeded": 3}) == (done["state"], done["runs"])
    assert days == [row["fires_at"] for row in cli.json("backfills", "show", done["backfill"])["items"]]
    assert [done["backfill"]] == [row["id"] for row in cli.json("backfills", "list", "--job", "past")["backfills"]]
    assert (0, None) == ((again := cli.json(*wanted))["count"], again["backfill"])
    cli("backfills", "cancel", done["backfill"], code=4)
    cli("backfill", "nobody", "--from", "2024-01-01", code=3)
    cli("backfill", "past", "--from", "2024-13-01", code=2)


@pytest.mark.slow
def test_a_paused_job_has_no_next_time_until_it_is_resumed(cli: Cli) -> None:
    def clock() -> dict[str, Any]:
        return next(row for row in cli.json("jobs")["jobs"] if row["name"] == "clock")

    planned = clock()["next_at"]
    cli("job", "pause", "clock", "--note", "moving")
    assert (clock()["paused"], clock()["next_at"]) == (True, None)
    assert cli.json("job", "pause", "clock")["changed"] is False
    cli("job", "resume", "clock")
    cli("pause", "--all")
    assert clock()["next_at"] is None
    cli("resume", "--all")

    assert (clock()["paused"], clock()["next_at"]) == (False, planned)
    assert cli.json("next", "--job", "clock", "--count", "1") == {"fires": [planned]}


@pytest.mark.slow
def test_a_disabled_job_is_not_started_and_one_that_is_needed_is_not_deleted(cli: Cli) -> None:
    cli("job", "disable", "fails")
    refused = cli("trigger", "hello", "fails", code=4)
    cli("job", "enable", "fails")

    assert refused == "error: job fails is disabled: scheduler job enable fails\n"
    assert "after needs hello" in cli("job", "delete", "hello", code=4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("trigger", "nobody"), 3),
        (("job", "show", "nobody"), 3),
        (("job", "delete", "nobody"), 3),
        (("run", "show", "0199b1c4-0000-7000-8000-000000000000"), 3),
        (("run", "retry", "0199b1c4-0000-7000-8000-000000000000"), 3),
        (("run", "show", "not-an-id"), 2),
        (("firings", "nobody"), 3),
        (("jobs", "--tenant", "nobody"), 3),
        (("trigger", "hello", "--tenant", "nobody"), 3),
        (("run", "show", "0199b1c4-00"), 3),
        (("run", "logs", "0199b1c"), 2),
    ],
)
def test_what_is_not_there_is_said_so(cli: Cli, arguments: Sequence[str], code: int) -> None:
    assert cli(*arguments, code=code).splitlines()[-1].lower().startswith("error: ")


def triggered_run(cli: Cli) -> str:
    return str(cli.json("trigger", "hello", "--wait")["firings"][0]["run"])


@pytest.mark.slow
def test_the_beginning_of_an_id_names_a_run_when_it_is_enough(cli: Cli) -> None:
    runs = [triggered_run(cli), triggered_run(cli)]
    while runs[0][:8] != runs[1][:8]:  # which change every 65.5 seconds
        runs = [runs[1], triggered_run(cli)]
    shared = next(size for size in range(36, 7, -1) if runs[0][:size] == runs[1][:size])

    shown = cli.json("run", "show", runs[0][:30])
    several = cli("run", "logs", runs[0][:shared], code=2)

    assert shown["id"] == runs[0]
    assert all(run in several for run in runs)
    assert "hello, succeeded" in several
    assert cli("dead", "discard", runs[0][:30], code=4).startswith(f"error: run {runs[0]} is succeeded")


@pytest.mark.slow
def test_health_executors_pools_and_the_ledger_are_readable(cli: Cli) -> None:
    assert cli.json("health", "--detailed")["healthy"]
    assert [row["slots"] for row in cli.json("executors")["executors"] if row["alive"]] == [5]
    assert cli.json("pool", "set", "slow", "--queue-limit", "7")["changed"]
    assert {"name": "slow", "queue_limit": 7}.items() <= cli.json("pool", "list")["pools"][1].items()
    cli("trigger", "hello", "--wait")
    page = cli.json("firings", "hello", "--limit", "1")
    assert [row["verdict"] for row in page["firings"]] == ["started"]
    assert page["next"] == page["firings"][0]["id"]
    for command in ("jobs", "runs", "firings", "executors", "health", "pool list", "dead list", "job show clock"):
        assert "\x1b" not in cli(*command.split())


@pytest.mark.slow
@pytest.mark.parametrize("form", ["yaml", "json"])
def test_what_export_prints_applies_to_the_same(cli: Cli, form: str) -> None:
    printed = cli("export", "--source", "test", *(["--json"] if form == "json" else []))
    (cli.folder / f"exported.{form}").write_text(printed)

    applied = cli.json("apply", f"exported.{form}")

    assert form == "yaml" or "test" == json.loads(printed)["source"]

    assert (applied["created"], applied["changed"], applied["removed"]) == ([], [], [])
    assert applied["unchanged"] == ["after", "clock", "fails", "hello", "long", "past"]


@pytest.mark.slow
def test_a_job_is_shown_whole(cli: Cli) -> None:
    clock, long, after = (cli("job", "show", name) for name in ("clock", "long", "after"))

    assert all(word in clock for word in ("command: true", "yearly", "cron 0 0 1 1 *", "next at (", "no runs"))
    assert all(word in long for word in ("command: sleep 60", "hard 1m", "grace 1s", "attempts 1", "no triggers"))
    assert all(word in after for word in ("hello succeeded", "pool", "default", "policy latest", "skip"))
    assert {"spec", "triggers", "runs"} <= cli.json("job", "show", "clock").keys()


@pytest.mark.slow
def test_what_people_hold_back_is_said_by_health_and_by_export(cli: Cli) -> None:
    cli("job", "disable", "fails")
    cli("job", "pause", "clock")
    cli("pause", "--all")
    try:
        said = cli("health")
        exported = cli("export")
    finally:
        cli("resume", "--all")
        cli("job", "resume", "clock")
        cli("job", "enable", "fails")

    assert said.startswith("healthy\n")
    assert all(word in said for word in ("scheduler resume --all", "paused one by one: 1", "disabled: 1"))
    assert exported.startswith("# Paused at the time, which a definitions file does not say: after, clock, ")
    assert {"fails": False} == {
        n: job["enabled"] for n, job in yaml.safe_load(exported)["jobs"].items() if "enabled" in job
    }
    assert cli.json("health") == {"healthy": True, "troubles": {}, "held_back": [], "warnings": []}
