"""``scheduler trigger --wait`` on a terminal says how far what it waits for is."""

import contextlib
import os
import pty
import subprocess
from pathlib import Path

import pytest

from tests.support.cli import COMMAND, Cli, end, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

JOBS = """
version: 1
jobs:
  copy:
    run:
      script: {text: 'echo "1/2 half" >"$SCHEDULER_PROGRESS"; until [ -e go ]; do sleep 0.05; done'}
    cwd: .
"""


def rest_of(terminal: int) -> bytes:
    """Return what was written to it by processes that have ended."""
    found = b""
    with contextlib.suppress(OSError):  # nobody has it open any more
        while more := os.read(terminal, 1024):
            found += more
    return found


def test_line_comes_and_goes(tmp_path: Path, database_url: str) -> None:
    (tmp_path / "jobs.yaml").write_text(JOBS)
    cli = Cli(tmp_path)
    cli.environment |= {"DATABASE_URL": database_url, "SCHEDULER_ONE_DATABASE_USER": "true"}
    running = cli.begin("up", "jobs.yaml", "--no-http")
    terminal, theirs = pty.openpty()
    try:
        until(lambda: cli.json("jobs")["jobs"], "the job is there")
        waiting = subprocess.Popen(
            [*COMMAND, "trigger", "copy", "--wait"],
            cwd=tmp_path,
            env=cli.environment,
            stdout=subprocess.PIPE,
            stderr=theirs,
        )
        os.close(theirs)
        seen = b""
        while b"running; copy: 1 of 2 (50 %) half" not in seen:
            seen += os.read(terminal, 1024)
        (tmp_path / "go").touch()
        said, _ = waiting.communicate(timeout=30)

        assert (waiting.returncode, b" succeeded" in said) == (0, True)
        assert rest_of(terminal).endswith(b"\r\x1b[K")
    finally:
        os.close(terminal)
        assert end(running) == 0
