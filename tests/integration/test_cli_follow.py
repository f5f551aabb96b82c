"""``scheduler run logs -f`` of one actor per process, on a real broker and a real database."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.cli import Cli, end, status, until
from tests.support.forked import Forked
from tests.support.services import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

ACTORS = ("ticker", "dispatcher", "recorder", "executor")
JOBS = """
version: 1
jobs:
  copy:
    run:
      script: {text: 'echo "1/2 half" >"$SCHEDULER_PROGRESS"; printf "one\\033[2J\\n";
        until [ -e go ]; do sleep 0.05; done; echo two; exit "$(cat go)"'}
    cwd: .
"""


@pytest.fixture
def cli(tmp_path: Path, amqp_url: str, empty_database_url: str) -> Iterator[Cli]:
    made = Cli(tmp_path)
    made.environment |= {"AMQP_URL": amqp_url, "DATABASE_URL": empty_database_url}
    (tmp_path / "jobs.yaml").write_text(JOBS)
    made("db", "migrate")
    made("broker", "declare")
    made("apply", "jobs.yaml")
    ports = {actor: free_port() for actor in ACTORS}
    fleet = [made.begin("start", actor, "--probe-port", str(port)) for actor, port in ports.items()]
    try:
        until(lambda: all(status(port, "/readyz") == 200 for port in ports.values()), "ready")
        yield made
        assert [end(process) for process in fleet] == [0, 0, 0, 0]
    finally:
        for process in fleet:
            process.kill()
            process.wait()


def fired(cli: Cli) -> str:
    cli("trigger", "copy")
    shown: Callable[[], list[dict[str, str]]] = lambda: cli.json("runs", "--state", "running")["runs"]  # noqa: E731
    return str(until(shown, "it runs")[0]["id"])


def let_go(cli: Cli, code: str) -> None:
    """Let the job end with this exit code: the file is there with it, at no instant without."""
    (cli.folder / "code").write_text(code)
    (cli.folder / "code").rename(cli.folder / "go")


def followed(cli: Cli, *options: str) -> tuple[Forked, Path]:
    return cli.begin("run", "logs", "-f", *options), cli.folder / "run-logs.log"


def test_output_comes_while_it_runs_safe_to_print_and_the_exit_code_says_how_it_ended(cli: Cli) -> None:
    run = fired(cli)
    following, said = followed(cli, run)
    until(lambda: "one" in said.read_text(), "the first line")
    progress = until(lambda: cli.json("run", "show", run)["progress"], "progress")
    table = cli("runs")
    let_go(cli, "0")

    assert following.wait(30) == 0
    assert said.read_text() == "one\\x1b[2J\ntwo\n"
    assert progress == {"done": 1, "total": 2, "message": "half"}
    assert "1 of 2 (50 %) half" in table
    assert cli("run", "logs", run) == "one\\x1b[2J\ntwo\n"
    assert "progress 1 of 2 (50 %) half" in cli("run", "show", run)

    (cli.folder / "go").unlink()
    run = fired(cli)
    following, said = followed(cli, run, "--json")
    until(lambda: '"text": "one' in said.read_text(), "the first line")
    let_go(cli, "3")

    assert following.wait(30) == 1
    words = [json.loads(line) for line in said.read_text().splitlines()]
    assert [word["type"] for word in words if word["type"] != "progress"] == ["output", "output", "attempt", "run"]
    assert words[-1] == {"type": "run", "job": "copy", "state": "failed", "reason": "exit code 3; attempt 1 of 1"}
