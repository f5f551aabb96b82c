"""What a new user tries first, exactly as README.md says it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def test_the_first_job_runs_three_times_and_ends(tmp_path):
    section = README.partition("## Your first job")[2]
    definitions = re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)[0]
    command = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)[0].split()
    (tmp_path / "jobs.yaml").write_text(definitions, encoding="utf-8")
    assert command[0] == ".venv/bin/scheduler"
    program = str(Path(sys.executable).with_name("scheduler"))
    settings = {
        "SCHEDULER_DATA_DIR": str(tmp_path / "state"),
        "SCHEDULER_PROBE_PORT": "0",
        "SCHEDULER_LOG_FORMAT": "json",
    }
    kept = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "AMQP_URL"}}

    process = subprocess.run(
        [program, *command[1:]],
        cwd=tmp_path,
        env={**kept, **settings},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert process.returncode == 0, process.stdout + process.stderr
    said = [json.loads(line) for line in process.stdout.splitlines()]
    assert ["succeeded"] * 3 == [line["state"] for line in said if line["message"] == "run.settled"]
