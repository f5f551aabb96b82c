"""``scheduler up`` as a command, and what starting a command costs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.cli import ROOT, Cli

pytestmark = pytest.mark.timeout(240)

ONCE = """
version: 1
jobs:
  works:
    run: {command: ["true"]}
    triggers: [{every: 200ms, max_fires: 2}]
    overlap: allow
    catch_up: {policy: all}  # however long it takes to start
  breaks: {run: {command: ["false"]}, needs: [works]}
"""


@pytest.mark.slow
def test_up_until_idle_ends_by_itself_and_says_by_its_code_whether_a_run_failed(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    (tmp_path / "once.yaml").write_text(ONCE)

    out = cli("up", "once.yaml", "--until-idle", "--port", "0", code=1)
    again = cli("up", "--until-idle", "--port", "0", code=0)

    ended = [line for line in map(json.loads, out.splitlines()) if line["message"] == "run.settled"]
    first = {job: next(at for at, line in enumerate(ended) if line["job_id"] == job) for job in ("works", "breaks")}
    assert all(line["tenant"] == "default" and line["execution_time_ms"] > 0 for line in ended)
    assert first["works"] < first["breaks"]  # in the order of their ends
    assert sorted((line["job_id"], line["state"]) for line in ended) == [
        ("breaks", "failed"),
        ("breaks", "failed"),
        ("works", "succeeded"),
        ("works", "succeeded"),
    ]
    assert "run.settled" not in again


@pytest.mark.slow
def test_up_refuses_bad_definitions_before_it_starts_anything(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    (tmp_path / "bad.yaml").write_text("version: 1\njobs: {a: {runs: 1}}\n")

    assert "bad.yaml:2:" in cli("up", "bad.yaml", code=65)
    assert not (tmp_path / "state").exists()


def test_help_loads_neither_drivers_nor_the_event_loop() -> None:
    """Start-up time is what a shell prompt waits for; loading is what takes it."""
    heavy = ("asyncpg", "pydantic", "aio_pika", "rich", "structlog", "aiohttp", "jinja2", "asyncio")
    code = f"import sys, scheduler.cli.main; print([name for name in {heavy!r} if name in sys.modules])"

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout

    assert loaded == "[]\n"
