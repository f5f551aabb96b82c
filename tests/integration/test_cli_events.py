"""``scheduler event``: publish, list and show, against a running scheduler."""

from collections.abc import Iterator

import pytest

from tests.support.cli import Cli, running_up, until

pytestmark = [pytest.mark.timeout(240), pytest.mark.slow]

JOBS = """
version: 1
jobs:
  ship:
    run: {command: [echo, "{{ params.order }} to {{ event.data.to }}"]}
    triggers:
      - event: {topic: "orders.*"}
        where: "event.data.order"
        params: {order: "{{ event.data.order }}"}
  after:
    run: {command: [echo, "{{ event.data.result.n }}"]}
    triggers: [{ended: {job: ship, state: succeeded}}]
"""


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    with running_up(tmp_path_factory.mktemp("up"), JOBS) as cli:
        yield cli


def test_what_is_published_is_listed_and_shown_with_what_it_started(cli: Cli) -> None:
    published = cli.json("event", "publish", "orders.eu", "--data", '{"order": 7, "to": "JP"}', "--id", "o-7")
    again = cli.json("event", "publish", "orders.eu", "--data", '{"order": 7, "to": "JP"}', "--id", "o-7")
    until(lambda: len(cli.json("event", "list", "--verdict", "started")["events"]) >= 1, "started")

    assert not published["duplicate"]
    assert again == {"event_id": published["event_id"], "duplicate": True}
    shown = cli.json("event", "show", published["event_id"])
    assert ("started", {"order": 7, "to": "JP"}) == (shown["verdict"], shown["data"])
    (firing,) = shown["firings"]
    assert ("ship", "started") == (firing["job"], firing["verdict"])
    until(lambda: cli.json("run", "show", firing["run_id"])["state"] == "succeeded", "the run")
    assert "7 to JP" in cli("run", "logs", firing["run_id"])
    assert published["event_id"] in cli("event", "list", "--topic", "orders.#", "--source", "cli")


def test_what_starts_nothing_says_why(cli: Cli) -> None:
    event_id = cli.json("event", "publish", "orders.eu", "--data", "{}")["event_id"]
    until(lambda: cli.json("event", "show", event_id)["verdict"] is not None, "its verdict")

    assert "where is not true of it" in cli.json("event", "show", event_id)["reason"]
    assert "it fired nothing" in cli("event", "show", event_id)
    assert [] == cli.json("event", "list", "--topic", "nothing")["events"]


def test_ends_of_runs_are_listed_too(cli: Cli) -> None:
    cli("trigger", "ship", "--params", '{"order": 1}', code=0)
    until(lambda: cli.json("runs", "--job", "ship")["runs"][0]["state"] == "failed", "a run without an event")
    cli.json("event", "publish", "orders.jp", "--data", '{"order": 8, "to": "FR"}')

    def ends() -> list[str]:
        return [row["topic"] for row in cli.json("event", "list", "--source", "run")["events"]]

    until(lambda: "run.succeeded.ship" in ends(), "the end")
    assert "run.failed.ship" not in ends(), "nobody waits for it"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("publish", "a b", "--data", "{}"), "no spaces"),
        (("publish", "a.#", "--data", "{}"), "an event has one topic"),
        (("publish", "a", "--data", "[1]"), "a JSON array"),
        (("list", "--verdict", "nope"), "is none of started, unmatched"),
        (("list", "--source", "nope"), "is none of amqp, webhook"),
    ],
)
def test_a_wrong_command_line_is_refused(cli: Cli, words: tuple[str, ...], said: str) -> None:
    assert said in " ".join(cli("event", *words, code=2).split())


def test_an_event_that_is_not_there_is_not_found(cli: Cli) -> None:
    assert "there is no event" in cli("event", "show", "00000000-0000-7000-8000-000000000000", code=3)
