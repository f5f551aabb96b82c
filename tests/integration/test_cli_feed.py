"""``scheduler feed`` beside a running scheduler with everything private."""

import json
from collections.abc import Iterator

import pytest

from tests.support.cli import Cli, end, running_up, until

JOBS = """
version: 1
jobs:
  hello: {run: {command: ["true"]}}
  fails: {run: {command: [sh, -c, "exit 3"]}}
"""


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    with running_up(tmp_path_factory.mktemp("up"), JOBS) as cli:
        yield cli


def test_the_feed_is_read_in_pages_and_followed(cli: Cli) -> None:
    """Every page goes on behind the one before; a follower hears what happens after it began."""
    cli("trigger", "hello", "--wait")
    # The end is in the rows; the feed has it when what other actors have begun before is committed, too.
    until(lambda: len(cli.json("feed")["events"]) == 3, "the end is told")
    first = cli.json("feed", "--limit", "2")
    rest = cli.json("feed", "--after", first["next"])
    follower = cli.begin("feed", "-f", "--json", "--after", rest["next"])
    cli("trigger", "fails", "--wait", code=1)
    log = cli.folder / "feed--f.log"
    until(lambda: "run.failed" in (said := log.read_text()) and said.endswith("\n"), "the failure is told")

    followed = [json.loads(line) for line in log.read_text().splitlines()]

    end(follower)
    types = [event["type"] for event in (*first["events"], *rest["events"], *followed)]
    assert (True, False) == (first["more"], rest["more"])
    assert types == [
        f"scheduler.{fact}"
        for fact in (
            *("firing.started", "run.started", "run.succeeded"),
            *("firing.started", "run.started", "run.failed"),
        )
    ]
    failed = followed[-1]
    assert (failed["specversion"], failed["source"]) == ("1.0", "/default/fails")
    assert (failed["data"]["outcome"], failed["data"]["exit_code"]) == ("failed", 3)
    lines = cli("feed", "--after", rest["next"]).splitlines()
    assert ["firing.started  fails", "run.started  fails", "run.failed  fails"] == [
        next(word for word in ("firing.started  fails", "run.started  fails", "run.failed  fails") if word in line)
        for line in lines
    ]
    assert [] == cli.json("feed", "--after", failed["cursor"])["events"]


def test_a_wrong_cursor_is_one_line(cli: Cli) -> None:
    assert "is no cursor of the feed" in cli("feed", "--after", "yesterday", code=1)
