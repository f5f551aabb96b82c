"""A trace goes from who asks to the run, its processes, its lines in the log and what people are shown."""

import json
import uuid
from pathlib import Path

import pytest

from tests.support.cli import Cli, end, status, until
from tests.support.services import free_port

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GIVEN = f"00-{TRACE}-{SPAN}-01"
JOBS = """
version: 1
jobs:
  first: {run: {command: [sh, -c, 'echo "$TRACEPARENT"']}}
  second: {run: {command: [sh, -c, 'echo "$TRACEPARENT"']}, needs: [first]}
  again: {run: {command: [sh, -c, 'exit 3']}, retry: {attempts: 2, initial: 100ms}}
"""
KEYS = {"timestamp", "level", "logger", "message", "tenant", "job_id", "run_id"}


@pytest.fixture
def lines_and_runs(tmp_path: Path, database_url: str) -> tuple[list[dict[str, object]], dict[str, dict[str, object]]]:
    """Run the jobs in one process, with a trace and without; return its log, and each run as shown."""
    cli = Cli(tmp_path)
    cli.environment["DATABASE_URL"] = database_url
    (tmp_path / "jobs.yaml").write_text(JOBS)
    port = free_port()
    process = cli.begin("up", "jobs.yaml", "--port", str(port))
    try:
        until(lambda: status(port, "/readyz") == 200, "ready")
        cli("trigger", "again", "--wait", code=1)
        cli.environment["TRACEPARENT"] = GIVEN
        cli("trigger", "first", "--wait")
        until(lambda: cli.json("runs", "--job", "second", "--state", "succeeded")["runs"], "the follower")
        runs = {run["job"]: cli.json("run", "show", run["id"]) for run in cli.json("runs")["runs"]}
        for job in ("first", "second"):
            runs[job]["output"] = cli("run", "logs", runs[job]["id"])
    finally:
        code = end(process)
    assert code == 0
    return [json.loads(line) for line in (tmp_path / "up-jobs.yaml.log").read_text().splitlines()], runs


@pytest.mark.slow
def test_a_trace_goes_all_the_way_and_every_line_says_so(lines_and_runs) -> None:
    lines, runs = lines_and_runs

    handed_on = {job: str(runs[job]["output"]).split("-") for job in ("first", "second")}
    assert {job: parts[1] for job, parts in handed_on.items()} == {"first": TRACE, "second": TRACE}
    assert {parts[3][:2] for parts in handed_on.values()} == {"01"}
    assert len({SPAN, *(parts[2] for parts in handed_on.values())}) == 3
    assert {job: run["trace_id"] for job, run in runs.items()} == {
        "first": TRACE,
        "second": TRACE,
        "again": uuid.UUID(str(runs["again"]["flow_id"])).hex,
    }

    settled = [line for line in lines if line["message"] == "run.settled"]  # from looking at the rows, in its own time
    assert {(run["id"], run["trace_id"]) for run in runs.values()} == {
        (one["run_id"], one["trace_id"]) for one in settled
    }
    lines = [line for line in lines if line not in settled]
    about = {job: [line for line in lines if line.get("job_id") == job] for job in runs}
    assert [(line["level"], line["message"]) for line in about["first"]] == [
        ("info", "firing.decided"),
        ("info", "attempt.started"),
        ("info", "attempt.succeeded"),
    ]
    assert [(line["level"], line["message"], line.get("attempt")) for line in about["again"]] == [
        ("info", "firing.decided", None),
        ("info", "attempt.started", 1),
        ("warning", "run.retried", 1),
        ("info", "attempt.started", 2),
        ("error", "run.failed", 2),
    ]
    for job, said in about.items():
        assert {line["trace_id"] for line in said} == {runs[job]["trace_id"]}
        assert {line["run_id"] for line in said} == {runs[job]["id"]}
        assert all(KEYS <= line.keys() for line in said)
    timed = {"attempt.succeeded", "run.retried", "run.failed"}
    assert all(line["execution_time_ms"] > 0 for line in lines if line["message"] in timed)
    assert about["again"][-1]["reason"]
