"""Files with everything in one process: relative paths, and what comes while nobody is there."""

import signal
from pathlib import Path

import pytest

from tests.support.cli import Cli, end, until
from tests.support.services import free_port

JOBS = """
version: 1
jobs:
  take:
    run: {command: [sh, -c, 'echo "$1" >>"$0"', "%s", "{{ event.data.relative }}"]}
    triggers: [{file: {path: in, settle: 200ms, recursive: true}}]
"""


@pytest.mark.timeout(120)
def test_up_takes_files_that_come_and_those_that_came_while_it_was_dead(tmp_path: Path):
    cli, told = Cli(tmp_path), tmp_path / "told"
    (tmp_path / "jobs/in").mkdir(parents=True)
    (tmp_path / "jobs/in/before").touch()
    (tmp_path / "jobs/jobs.yaml").write_text(JOBS % told)
    up = ("up", "jobs", "--no-http", "--port", str(free_port()))

    def lines() -> list[str]:
        return sorted(told.read_text().split()) if told.exists() else []

    process = cli.begin(*up)
    (tmp_path / "jobs/in/early").touch()
    until(lambda: "watch.began" in (tmp_path / "up-jobs.log").read_text(), "the first look")
    (tmp_path / "jobs/in/sub").mkdir()
    (tmp_path / "jobs/in/sub/one").touch()
    until(lambda: "sub/one" in lines(), "the first file")
    end(process, signal.SIGKILL)
    (tmp_path / "jobs/in/two").touch()
    process = cli.begin(*up)
    until(lambda: "two" in lines(), "the file that came meanwhile")
    (tmp_path / "jobs/in/three").touch()
    until(lambda: "three" in lines(), "the last file")

    assert end(process) == 0
    assert set(lines()) - {"early"} == {"sub/one", "two", "three"}
    assert len(lines()) == len(set(lines()))
